/** Preflight on the source: every reason why this process cannot be moved, all at once, without touching it. */
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { native } from '../native/index.js';
import type { Blocker } from '../shared/errors.js';
import { TaskFlag } from '../shared/proc/stat.js';
import { parseStatus, type Status } from '../shared/proc/status.js';
import { detectAll } from './capture/index.js';
import { findInjectionPoint } from './injection-point.js';
import type { Inspection } from './inspection.js';
import { detectNamespaces } from './namespaces.js';
import type { PipeCensus } from './pipe-census.js';
import { noSuchProcess, type ProcessView, type SourceProcess } from './source-process.js';

/**
 * What makes further looking pointless: read from a first look, before anything of the process is opened. Throws
 * MigrationError 'no-such-process'.
 */
export function detectImpossible(pid: number): Blocker[] {
  const [statusText, statText] = native.readFiles([`/proc/${pid}/status`, `/proc/${pid}/stat`]);
  if (typeof statusText === 'number' || typeof statText === 'number') throw noSuchProcess(pid);
  const status = parseStatus(statusText!.toString());
  const flags = Number(statText!.toString().split(') ').at(-1)!.split(' ')[6]);
  const blocker = (code: Blocker['code'], what: string): Blocker[] => [{ code, what, pid }];

  if (flags & TaskFlag.kernelThread)
    return blocker('kernel-thread', `process ${pid} (${status.name}) is a kernel thread`);
  if ('ZX'.includes(status.state))
    return blocker('process-dead', `process ${pid} (${status.name}) has ended`);
  if (status.tgid !== pid) {
    return blocker('no-such-process', `${pid} is a thread of process ${status.tgid}; name the process`);
  }
  if (ancestors(process.pid).includes(pid)) {
    return blocker('agent-itself', `process ${pid} (${status.name}) is this agent or one of its ancestors`);
  }
  return [];
}

export function detectBlockers(inspection: Inspection, pipes: PipeCensus): Blocker[] {
  const { process, view, mappings } = inspection;
  const blockers = [
    ...detectThreads(view),
    ...detectTask(view, process),
    ...detectOthers(process.pid, view),
    ...detectNamespaces(process.pid),
    ...detectAll(inspection, pipes),
  ];
  if (!findInjectionPoint(process.pid, mappings)) {
    const what = `process ${process.pid} maps no code that a remote system call can stand on`;
    blockers.push({ code: 'no-injection-point', what, pid: process.pid });
  }
  return blockers;
}

/**
 * The same once more of the stopped process: what it did since preflight stands in the way as well. The mappings are
 * left out, as each look at them has its own check.
 */
export function detectSince(inspection: Omit<Inspection, 'mappings' | 'vdso'>, pipes: PipeCensus): Blocker[] {
  const { process, view } = inspection;
  return [
    ...detectThreads(view),
    ...detectChildren(process.pid, view),
    ...detectAll({ ...inspection, mappings: [], vdso: null }, pipes),
  ];
}

function detectThreads({ leader: { tid: pid }, threads }: ProcessView): Blocker[] {
  const blockers: Blocker[] = [];
  for (const { tid, status } of threads) {
    if (status.tracerPid !== 0 && status.tracerPid !== process.pid) {
      const what = `thread ${tid} is traced by process ${status.tracerPid}`;
      blockers.push({ code: 'process-traced', what, pid, tid });
    }
    if (status.unknown.length > 0) {
      const object = `status field ${status.unknown.join(', ')}`;
      blockers.push({
        code: 'unknown-state',
        what: `/proc/${tid}/status has the unknown ${object}`,
        pid,
        tid,
        object,
      });
    }
  }
  return blockers;
}

function detectTask({ leader }: ProcessView, { pid }: SourceProcess): Blocker[] {
  const blockers: Blocker[] = [];
  if (is32Bit(pid))
    blockers.push({ code: 'process-32-bit', what: `process ${pid} is a 32-bit program`, pid });
  if (leader.status.state === 'T')
    blockers.push({ code: 'process-stopped', what: `process ${pid} is stopped`, pid });
  return blockers;
}

/** Tasks that hang on the process: children, tracees, and those that share parts of it. */
function detectOthers(pid: number, view: ProcessView): Blocker[] {
  const own = new Set(view.threads.map(({ tid }) => tid));
  const blockers: Blocker[] = [];
  for (const other of otherProcesses(pid)) {
    const named = `process ${other.pid} (${other.name})`;
    if (other.ppid === pid) {
      blockers.push({
        code: 'has-children',
        what: `${named} is a child of process ${pid}`,
        pid,
        object: named,
      });
    }
    if (other.vmSizeBytes === 0) continue; // it has ended, or belongs to the kernel
    if (own.has(other.tracerPid)) {
      blockers.push({ code: 'traces-others', what: `process ${pid} traces ${named}`, pid, object: named });
    }
    for (const [type, what] of shareable) {
      if (!sharesWith(pid, other.pid, type)) continue;
      blockers.push({
        code: 'shares-with-others',
        what: `process ${pid} shares its ${what} with ${named}`,
        pid,
        object: named,
      });
    }
  }
  return blockers;
}

/** Types of kcmp(2). */
const shareable = [
  [1, 'memory'],
  [2, 'descriptors'],
  [3, 'directories'],
] as const;

function sharesWith(pid: number, other: number, type: number): boolean {
  try {
    return native.kcmp(pid, other, type, 0, 0) === 0;
  } catch {
    return false; // it ended, or is a kernel thread
  }
}

function otherProcesses(pid: number): Status[] {
  const pids = readdirSync('/proc')
    .map(Number)
    .filter((other) => Number.isInteger(other) && other !== pid);
  return native
    .readFiles(pids.map((other) => `/proc/${other}/status`))
    .flatMap((text) => (typeof text === 'number' ? [] : [parseStatus(text.toString())]));
}

/** Children of the stopped process, also those that ended and wait to be collected: proc_tid_children(5). */
function detectChildren(pid: number, { threads }: ProcessView): Blocker[] {
  const texts = native.readFiles(threads.map(({ tid }) => `/proc/${pid}/task/${tid}/children`));
  return texts.flatMap((text, i): Blocker[] => {
    if (typeof text === 'number') {
      const [{ tid }, object] = [threads[i]!, 'children'];
      return [
        { code: 'unreadable-state', what: `the ${object} of thread ${tid} cannot be read`, pid, tid, object },
      ];
    }
    const children = text.toString().trim();
    if (children === '') return [];
    const object = `process ${children.replaceAll(' ', ', ')}`;
    return [{ code: 'has-children', what: `${object} is a child of process ${pid}`, pid, object }];
  });
}

function ancestors(pid: number): number[] {
  const line: number[] = [];
  for (let at = pid; at > 0 && !line.includes(at); ) {
    line.push(at);
    const [text] = native.readFiles([`/proc/${at}/status`]);
    at = typeof text === 'number' ? 0 : parseStatus(text!.toString()).ppid;
  }
  return line;
}

/** EI_CLASS of the executable: elf(5). */
function is32Bit(pid: number): boolean {
  const classOffset = 4;
  const class32 = 1;
  const header = Buffer.alloc(5);
  try {
    const fd = openSync(`/proc/${pid}/exe`, 'r');
    try {
      readSync(fd, header, 0, header.length, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    return false; // the executable's own checks speak of it
  }
  return header[classOffset] === class32;
}
