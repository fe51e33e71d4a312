/** Preflight on the target: every reason against an offered process, from what both hosts are and what this one has. */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import path from 'node:path';
import { native } from '../native/index.js';
import { type Blocker, MigrationError } from '../shared/errors.js';
import { digestOf, isSameInode, stampOf } from '../shared/file-identity.js';
import { redirect } from '../shared/injection/x86-64/vdso-entries.js';
import { parseStatus } from '../shared/proc/status.js';
import type { FromSource, HostFacts, NeededFile } from '../shared/protocol/messages.js';
import { limitNames } from '../shared/state/limits.js';
import { isWritable } from './standard-streams.js';

type Offer = Extract<FromSource, { type: 'offer' }>;

/** What the restoring itself needs beside the program's memory. */
const reserveBytes = 64 << 20;
const leastStateBytes = 1 << 20;
const resourceCapability = 1n << 24n;

/** Differences of the hosts that no program would survive. Pure. */
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
  const here = new Set(target.cpuFeatures);
  const missing = source.cpuFeatures.filter((feature) => !here.has(feature));
  if (missing.length > 0) {
    differ('cpu-features-missing', `the target CPU lacks ${missing.slice(0, 20).join(' ')}`, 'CPU features');
  }
  return blockers;
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

/** Ids, memory, disk, limits and streams. */
export function detectShortages(offer: Offer, stateDirectory: string): Blocker[] {
  const blockers: Blocker[] = [];
  for (const id of offer.ids) {
    if (!existsSync(`/proc/${id}`)) continue;
    blockers.push({ code: 'pid-taken', what: `the id ${id} is in use on the target`, object: `pid ${id}` });
  }
  const memory = availableMemory();
  if (offer.residentBytes + reserveBytes > memory) {
    const what = `the process has ${mebibytes(offer.residentBytes)} MiB of memory, the target ${mebibytes(memory)} MiB to spare`;
    blockers.push({ code: 'no-memory', what, object: 'memory' });
  }
  blockers.push(...detectDisk(stateDirectory, offer.stdio), ...detectLimits(offer.hardLimits));
  return blockers;
}

function detectDisk(stateDirectory: string, stdio: string): Blocker[] {
  const { bavail, bsize } = statfsSync(stateDirectory);
  if (bavail * bsize < leastStateBytes) {
    return [{ code: 'no-space', what: `${stateDirectory} is full`, object: stateDirectory }];
  }
  if (stdio.startsWith('/') && (!existsSync(path.dirname(stdio)) || !isWritable(stdio))) {
    return [{ code: 'no-space', what: `${stdio} cannot be written on the target`, object: stdio }];
  }
  return [];
}

function detectLimits(hardLimits: readonly bigint[]): Blocker[] {
  const { capabilities } = parseStatus(readFileSync('/proc/self/status', 'utf8'));
  if (capabilities.effective & resourceCapability) return [];
  return hardLimits.flatMap((hard, resource) => {
    const own = native.getLimit(process.pid, resource)[1];
    if (hard <= own) return [];
    const object = `limit ${limitNames[resource]}`;
    return [
      {
        code: 'identity-refused',
        what: `its hard ${object} (${hard}) is above the agent's own (${own}), and the agent lacks CAP_SYS_RESOURCE`,
        object,
      },
    ];
  });
}

/** What is left in this host and in the memory cgroups of this agent. */
function availableMemory(): number {
  const free =
    Number(/^MemAvailable:\s*(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024;
  return Math.min(free, ...cgroupMemory());
}

function cgroupMemory(): number[] {
  const lines = readFileSync('/proc/self/cgroup', 'utf8').trim().split('\n');
  return lines.flatMap((line) => {
    const [, controllers, group] = line.split(':') as [string, string, string];
    const folders =
      controllers === ''
        ? [[`/sys/fs/cgroup${group}`, 'memory.max', 'memory.current']]
        : controllers.split(',').includes('memory')
          ? [[`/sys/fs/cgroup/memory${group}`, 'memory.limit_in_bytes', 'memory.usage_in_bytes']]
          : [];
    return folders.flatMap(([folder, limit, usage]) => {
      const [most, used] = [numberIn(`${folder}/${limit}`), numberIn(`${folder}/${usage}`)];
      return most === null || used === null ? [] : [Math.max(0, most - used)];
    });
  });
}

function numberIn(file: string): number | null {
  try {
    const text = readFileSync(file, 'utf8').trim();
    return /^\d+$/.test(text) ? Number(text) : null;
  } catch {
    return null;
  }
}

/** Files that are missing or another kind, and those whose content has to be compared. */
export function compareFiles(files: readonly NeededFile[], sameKernel: boolean, compareContents: boolean) {
  const blockers: Blocker[] = [];
  const unsure: string[] = [];
  for (const { path: file, stamp, directory } of files) {
    const here = stampOf(file);
    if (!here) {
      blockers.push({ code: 'file-missing', what: `${file} does not exist on the target`, object: file });
    } else if (directory ? !here.directory : !here.regular) {
      // Opening a fifo in the place of a file would wait for its other end.
      const what = `${file} is no ${directory ? 'directory' : 'regular file'} on the target`;
      blockers.push({ code: 'file-differs', what, object: file });
    } else if (!directory && (compareContents || !sameKernel || !isSameInode(stamp, here))) {
      if (here.size !== stamp.size) blockers.push(differs(file));
      else unsure.push(file);
    }
  }
  return { blockers, unsure };
}

/** Compares contents by their hashes. */
export async function compareDigests(
  digests: readonly { path: string; sha256: string | null }[],
): Promise<Blocker[]> {
  const blockers: Blocker[] = [];
  for (const { path: file, sha256 } of digests) {
    if (sha256 === null || (await digestOf(file)) !== sha256) blockers.push(differs(file));
  }
  return blockers;
}

function differs(file: string): Blocker {
  return { code: 'file-differs', what: `${file} has another content on the target`, object: file };
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / (1 << 20));
}
