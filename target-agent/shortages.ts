/** What a process needs of this host beside its files, and what there is: ids, memory, disk, limits. */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import path from 'node:path';
import { native } from '../native/index.js';
import type { Blocker } from '../shared/errors.js';
import { parseStatus } from '../shared/proc/status.js';
import type { FromSource, Needs } from '../shared/protocol/messages.js';
import { limitNames } from '../shared/state/limits.js';
import { groupRoom } from './cgroup-room.js';
import { isWritable } from './standard-streams.js';

type Offer = Extract<FromSource, { type: 'offer' }>;

/** What this host can give, in the words of proc(5), proc_sys_vm(5) and proc_sys_kernel(5). */
export interface Supply {
  /** MemAvailable, or less where a cgroup allows less. */
  memoryBytes: number;
  totalBytes: number;
  swapBytes: number;
  /** vm.overcommit_memory */
  overcommit: number;
  /** CommitLimit less Committed_AS */
  committableBytes: number;
  maxMapCount: number;
  mmapMinAddress: bigint;
  pidMax: number;
  /** Tasks that may still be started: kernel.threads-max and the pids controller. */
  tasks: number;
}

/** What the restoring itself needs beside the program's memory. */
const reserveBytes = 64 << 20;
const leastStateBytes = 1 << 20;
/** Mappings of the skeleton that come before those of the program are in place. */
const ownMappings = 8;
/** The rehearsal starts one process besides. */
const ownTasks = 2;
const strict = 2;
const heuristic = 0;
const resourceCapability = 1n << 24n;

export function detectShortages(offer: Offer, stateDirectory: string): Blocker[] {
  const blockers: Blocker[] = [];
  for (const id of offer.ids) {
    if (!existsSync(`/proc/${id}`)) continue;
    blockers.push({ code: 'pid-taken', what: `the id ${id} is in use on the target`, object: `pid ${id}` });
  }
  return [
    ...blockers,
    ...compareNeeds(offer.needs, offer.ids, supply()),
    ...detectDisk(stateDirectory, offer.stdio),
    ...detectLimits(offer.hardLimits),
  ];
}

/** Pure. */
export function compareNeeds(needs: Needs, ids: readonly number[], has: Supply): Blocker[] {
  const memory = (what: string): Blocker => ({ code: 'no-memory', what, object: 'memory' });
  const limit = (what: string, object: string): Blocker => ({ code: 'target-limit', what, object });
  const blockers: Blocker[] = [];
  if (needs.privateBytes + reserveBytes > has.memoryBytes) {
    const what = `the process has ${mebibytes(needs.privateBytes)} MiB of memory, the target ${mebibytes(has.memoryBytes)} MiB to spare`;
    blockers.push(memory(what));
  }
  if (has.overcommit === strict && needs.accountedBytes > has.committableBytes) {
    const what = `the process has mapped ${mebibytes(needs.accountedBytes)} MiB that count as used under strict overcommit, and the target has ${mebibytes(has.committableBytes)} MiB to commit`;
    blockers.push(memory(what));
  }
  if (has.overcommit === heuristic && needs.largestAccountedBytes > has.totalBytes + has.swapBytes) {
    const what = `one mapping of ${mebibytes(needs.largestAccountedBytes)} MiB is more than all memory and swap of the target, which refuses such (vm.overcommit_memory)`;
    blockers.push(memory(what));
  }
  if (needs.mappings + ownMappings > has.maxMapCount) {
    const what = `the process has ${needs.mappings} mappings, the target allows ${has.maxMapCount} (vm.max_map_count)`;
    blockers.push(limit(what, 'vm.max_map_count'));
  }
  if (needs.lowestAddress < has.mmapMinAddress) {
    const what = `the process has mapped address ${needs.lowestAddress}, the target allows none below ${has.mmapMinAddress} (vm.mmap_min_addr)`;
    blockers.push(limit(what, 'vm.mmap_min_addr'));
  }
  const highest = Math.max(...ids);
  if (highest >= has.pidMax) {
    const what = `the id ${highest} is beyond those of the target, which end at ${has.pidMax} (kernel.pid_max)`;
    blockers.push(limit(what, 'kernel.pid_max'));
  }
  if (ids.length + ownTasks > has.tasks) {
    const what = `the process has ${ids.length} threads, and the target may start ${has.tasks} (kernel.threads-max, pids.max)`;
    blockers.push(limit(what, 'threads'));
  }
  return blockers;
}

function supply(): Supply {
  const memory = readFileSync('/proc/meminfo', 'utf8');
  const bytes = (name: string) =>
    Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(memory)?.[1] ?? 0) * 1024;
  const room = groupRoom();
  const [, , , tasks] = readFileSync('/proc/loadavg', 'utf8').split(' ');
  return {
    memoryBytes: Math.min(bytes('MemAvailable'), room.memoryBytes),
    totalBytes: bytes('MemTotal'),
    swapBytes: bytes('SwapTotal'),
    overcommit: setting('vm/overcommit_memory'),
    committableBytes: bytes('CommitLimit') - bytes('Committed_AS'),
    maxMapCount: setting('vm/max_map_count'),
    mmapMinAddress: BigInt(setting('vm/mmap_min_addr')),
    pidMax: setting('kernel/pid_max'),
    tasks: Math.min(setting('kernel/threads-max') - Number(tasks!.split('/')[1]), room.tasks),
  };
}

function setting(name: string): number {
  return Number(readFileSync(`/proc/sys/${name}`, 'utf8'));
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

function mebibytes(bytes: number): number {
  return Math.round(bytes / (1 << 20));
}
