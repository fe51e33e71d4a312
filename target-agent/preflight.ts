/** Preflight on the target: what the two hosts differ in, and what their files do. */
import { type Blocker, MigrationError } from '../shared/errors.js';
import { formFor, identityOf, isSameInode, stampOf } from '../shared/file-identity.js';
import { redirect } from '../shared/injection/x86-64/vdso-entries.js';
import type { FromSource, HostFacts, NeededFile } from '../shared/protocol/messages.js';

type Offer = Extract<FromSource, { type: 'offer' }>;

/** Clocks of one frequency are calibrated at each boot, and come out some parts in a million apart. */
const tolerablePerMillion = 1000;
const namedFeatures = 40;

/** Differences of the hosts that a program would suffer from. Pure. */
export function compareHosts(source: HostFacts, target: HostFacts): Blocker[] {
  const blockers: Blocker[] = [];
  const differ = (code: Blocker['code'], what: string, object: string) =>
    blockers.push({ code, what, object });
  if (source.architecture !== target.architecture) {
    differ(
      'architecture-differs',
      `the source is ${source.architecture}, the target ${target.architecture}`,
      'architecture',
    );
  }
  if (source.pageBytes !== target.pageBytes) {
    differ(
      'architecture-differs',
      `pages have ${source.pageBytes} bytes there and ${target.pageBytes} here`,
      'page size',
    );
  }
  compareCpus(source, target, differ);
  compareKernels(source, target, differ);
  return blockers;
}

type Differ = (code: Blocker['code'], what: string, object: string) => void;

function compareCpus(source: HostFacts, target: HostFacts, differ: Differ): void {
  const here = new Set(target.cpuFeatures);
  const missing = source.cpuFeatures.filter((feature) => !here.has(feature));
  if (missing.length > 0) {
    const more = missing.length > namedFeatures ? ` and ${missing.length - namedFeatures} more` : '';
    const named = missing.slice(0, namedFeatures).join(' ');
    differ('cpu-features', `the target CPU lacks ${named}${more}`, 'CPU features');
  }
  const places = new Map(target.extendedStates.map((state) => [state.component, state]));
  for (const { component, offset, bytes } of source.extendedStates) {
    const place = places.get(component);
    if (!place || (place.offset === offset && place.bytes === bytes)) continue;
    const what = `component ${component} of the extended state lies at ${offset} (${bytes} bytes) there and at ${place.offset} (${place.bytes} bytes) here`;
    differ('extended-state', what, `state component ${component}`);
  }
  if (target.possibleCpus > source.possibleCpus) {
    const what = `the target may have ${target.possibleCpus} CPUs, the source ${source.possibleCpus}`;
    differ('more-cpus', what, 'possible CPUs');
  }
  const [hertz, others] = [source.tscKilohertz, target.tscKilohertz];
  if (hertz && others && Math.abs(others / hertz - 1) * 1e6 > tolerablePerMillion) {
    const what = `the time-stamp counter runs at ${hertz} kHz on the source and ${others} kHz on the target`;
    differ('tsc-frequency', what, 'time-stamp counter');
  }
}

function compareKernels(source: HostFacts, target: HostFacts, differ: Differ): void {
  const older = isOlder(target.kernelRelease, source.kernelRelease);
  const lessRseq = target.rseqFeatureBytes < source.rseqFeatureBytes;
  if (!older && !lessRseq) return;
  const rseq = lessRseq
    ? `; it fills ${target.rseqFeatureBytes} bytes of struct rseq, the source's ${source.rseqFeatureBytes}`
    : '';
  const what = `the target runs Linux ${target.kernelRelease}, the source ${source.kernelRelease}${rseq}`;
  differ('kernel-older', what, 'kernel release');
}

/** By the two numbers that stand for features; what comes behind them are repairs. Pure. */
export function isOlder(release: string, than: string): boolean {
  const [a, b] = [release, than].map((text) => /^(\d+)\.(\d+)/.exec(text)?.slice(1).map(Number));
  if (!a || !b) return release !== than;
  return a[0]! < b[0]! || (a[0] === b[0] && a[1]! < b[1]!);
}

/** What keeps the program's entry points into the kernel from being led to this one's. */
export function compareVdso({ vdso }: Offer, own: { image: Uint8Array; digest: string }): Blocker[] {
  const blocker = (what: string): Blocker => ({ code: 'kernel-differs', what, object: 'vdso' });
  if (!vdso) return [blocker('the program has unmapped the vdso')];
  if (vdso.kernel === own.digest) return [];
  try {
    return redirect(vdso.image, own.image).obstacles.map(blocker);
  } catch (error) {
    if (error instanceof MigrationError && error.code === 'kernel-differs') return [blocker(error.message)];
    throw error;
  }
}

/** What no program breaks on, and a person should know. Pure. */
export function noteHosts(source: HostFacts, target: HostFacts): string[] {
  const notes: string[] = [];
  if (source.bootId !== target.bootId && source.tscKilohertz !== null) {
    notes.push('the time-stamp counter (rdtsc) of the target begins elsewhere');
  }
  if (source.clocksource === 'tsc' && target.clocksource !== 'tsc') {
    notes.push(`the target's clock source is ${target.clocksource}: reading the time takes longer there`);
  }
  if (source.hugePages !== target.hugePages) {
    notes.push(
      `transparent huge pages are "${target.hugePages}" on the target, "${source.hugePages}" at home`,
    );
  }
  return notes;
}

/** A file whose content has to be compared. */
type Unsure = Pick<NeededFile, 'path' | 'mapped'> & { size: bigint };

/** How many bytes are compared without being asked to: with hashes, both hosts at once, some seconds. */
export const usualBytes = 4n << 30n;

/** Files that are missing or another kind, and those whose content has to be compared. */
export function compareFiles(files: readonly NeededFile[], sameKernel: boolean, compareContents: boolean) {
  const blockers: Blocker[] = [];
  const unsure: Unsure[] = [];
  for (const { path: file, stamp, directory, mapped } of files) {
    const here = stampOf(file);
    if (!here) {
      blockers.push({ code: 'file-missing', what: `${file} does not exist on the target`, object: file });
    } else if (directory ? !here.directory : !here.regular) {
      // Opening a fifo in the place of a file would wait for its other end.
      const what = `${file} is no ${directory ? 'directory' : 'regular file'} on the target`;
      blockers.push({ code: 'file-missing', what, object: file });
    } else if (!directory && (compareContents || !sameKernel || !isSameInode(stamp, here))) {
      const size = stamp.size;
      if (here.size !== size) blockers.push(differs({ path: file, mapped }));
      else unsure.push({ path: file, mapped, size });
    }
  }
  return { blockers, unsure };
}

/** The small ones first: what is beyond `limit` stays uncompared, and is said to be. Pure. */
export function withinLimit(unsure: readonly Unsure[], compareContents: boolean, limit = usualBytes) {
  const compared: Unsure[] = [];
  const blockers: Blocker[] = [];
  let bytes = 0n;
  for (const file of [...unsure].sort((a, b) => Number(a.size - b.size))) {
    const readBytes = formFor(file.size, file.mapped, compareContents) === 'sha256' ? file.size : 0n;
    if (!compareContents && bytes + readBytes > limit) {
      const what = `${file.path} (${file.size >> 20n} MiB) was not compared: together with smaller ones it is more than ${limit >> 20n} MiB`;
      blockers.push({ code: 'file-uncompared', what, object: file.path });
    } else {
      bytes += readBytes;
      compared.push(file);
    }
  }
  return { compared, blockers, bytes };
}

/** Begins to identify files, one after the other. */
export async function identify(
  files: readonly Unsure[],
  compareContents: boolean,
): Promise<Map<string, string | null>> {
  const identities = new Map<string, string | null>();
  for (const { path, size, mapped } of files) {
    identities.set(path, await identityOf(path, formFor(size, mapped, compareContents)));
  }
  return identities;
}

/** Compares what both hosts found. A file that one of them cannot read is not the same. */
export function compareIdentities(
  files: readonly Unsure[],
  here: ReadonlyMap<string, string | null>,
  there: ReadonlyMap<string, string | null>,
): Blocker[] {
  return files
    .filter(({ path }) => (here.get(path) ?? null) === null || here.get(path) !== there.get(path))
    .map(differs);
}

function differs({ path, mapped }: Pick<NeededFile, 'path' | 'mapped'>): Blocker {
  const code = mapped ? 'mapped-file-differs' : 'file-differs';
  return { code, what: `${path} has another content on the target`, object: path };
}
