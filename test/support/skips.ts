/**
 * Skipped tests, by name. A kernel or machine may lack what a test needs; then the test says so in place of running:
 *
 *     if (available) test('collects what was written', () => { ... });
 *     else skip('soft-dirty', 'pagemap never shows bit 55');
 *
 * Only names written down here are accepted, each with the reason why a machine may lack it. The runner counts and
 * prints them. uvu's own test.skip counts as a failure.
 */
export const permittedSkips: Readonly<Record<string, string>> = {
  'soft-dirty': 'the kernel must be built with CONFIG_MEM_SOFT_DIRTY',
  'asynchronous-write-protect': 'userfaultfd knows UFFD_FEATURE_WP_ASYNC since Linux 6.7',
  'pagemap-scan': 'pagemap knows PAGEMAP_SCAN since Linux 6.7',
  'anonymous-names': 'naming anonymous memory needs CONFIG_ANON_VMA_NAME',
  'shadow-stack': 'user shadow stacks need Linux 6.6 and a CPU that has them',
  'huge-pages': 'the machine must be able to reserve a few 2 MB pages',
  'kernel-threads': 'a pid namespace other than the first shows none',
  'memory-cgroup': 'a memory controller must be mounted, and groups be made in it',
  'virtual-machines': 'QEMU and the kernels come from Debian packages, which need root, apt and its mirrors',
  'guard-pages': 'MADV_GUARD_INSTALL is known since Linux 6.13',
  'matrix-extensions': 'registers that are given on request need a CPU with AMX',
  'slow-disk': 'control groups (v1) must be able to throttle the disk of the temporary files',
  'freezer-cgroup': 'a freezer (control groups v1, or v2) must be mounted, and groups be made in it',
  swap: 'room to swap to must be allowed',
  'page-merging': 'the kernel must merge equal pages (CONFIG_KSM), and let it be switched on',
  'resource-capability': 'raising hard limits needs CAP_SYS_RESOURCE, which containers often drop',
};

const announcement = /^\[skipped\] ([a-z0-9-]+): (.+)$/gm;

export interface Skip {
  name: string;
  reason: string;
}

/** Announces that a test is not run here: `reason` says what was found missing. Throws for a name not on the list. */
export function skip(name: string, reason: string): void {
  if (!Object.hasOwn(permittedSkips, name)) throw new Error(`"${name}" is no permitted skip: see skips.ts`);
  // uvu writes its dots without ending the line.
  process.stdout.write(`\n[skipped] ${name}: ${reason.replaceAll('\n', ' ')}\n`);
}

/** The skips announced in the output of a test file. */
export function announcedSkips(output: string): Skip[] {
  return [...output.matchAll(announcement)].map(([, name, reason]) => ({ name: name!, reason: reason! }));
}
