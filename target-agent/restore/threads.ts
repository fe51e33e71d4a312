import { writeFileSync } from 'node:fs';
import { native } from '../../native/index.js';
import { isKernelError, MigrationError } from '../../shared/errors.js';
import { CallBatch } from '../../shared/injection/batch.js';
import {
  fromBytes,
  get,
  getSigned,
  type Registers,
  withRegisters,
} from '../../shared/injection/x86-64/registers.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Thread } from '../../shared/state/threads.js';
import { fitted } from '../extended-state.js';
import type { Skeleton } from '../skeleton.js';
import type { Restore } from './kind.js';
import { queue } from './signals.js';

// CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM
const threadFlags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000;
const cloneArgsBytes = 88;
const endMs = 5000;
const setTidOffset = 0x200;
const nameOffset = 0x400;
const stackOffset = 0x500;
const prctl = { setName: 15 } as const;
const restartBlock = -516n;
const restartUnlessHandled = -514n;
const normalPolicies: ReadonlySet<number> = new Set([0, 3, 5]); // SCHED_OTHER, SCHED_BATCH, SCHED_IDLE

export const restoreThreads: Restore = {
  settle({ skeleton, state: { threads }, notes }) {
    follow(skeleton, [], threads, notes);
  },
  finish({ skeleton, state: { threads, process }, notes }, changed) {
    if (changed.has('threads')) follow(skeleton, [...settledThreads(skeleton)], threads, notes);
    for (const thread of threads) registerRseq(skeleton, thread);
    for (const thread of threads) {
      const tid = skeleton.threads.get(thread.tid)!;
      queue(skeleton, tid, thread.pending, (batch, signal, at) => {
        batch.add('rt_tgsigqueueinfo', syscalls.rtTgsigqueueinfo, process.pid, thread.tid, signal, at);
      });
    }
  },
};

/** What each skeleton's threads were last given. */
const settled = new WeakMap<Skeleton, Map<number, Thread>>();

function settledThreads(skeleton: Skeleton): Iterable<Thread> {
  return settled.get(skeleton)?.values() ?? [];
}

/** Makes the threads those of `next`: new ones begin, others end, and each gets what differs. */
function follow(
  skeleton: Skeleton,
  before: readonly Thread[],
  next: readonly Thread[],
  notes: string[],
): void {
  const old = new Map(before.map((thread) => [thread.tid, thread]));
  const wanted = new Set(next.map(({ tid }) => tid));
  for (const { tid } of before) if (!wanted.has(tid)) end(skeleton, tid);
  for (const thread of next) {
    if (!skeleton.threads.has(thread.tid)) begin(skeleton, thread.tid);
    const known = old.get(thread.tid);
    if (!known || differs(known, thread)) equip(skeleton, thread, known, notes);
  }
  settled.set(skeleton, new Map(next.map((thread) => [thread.tid, thread])));
}

function begin(skeleton: Skeleton, tid: number): void {
  const args = Buffer.alloc(cloneArgsBytes);
  const ids = Buffer.alloc(4);
  ids.writeInt32LE(tid);
  args.writeBigUInt64LE(BigInt(threadFlags), 0);
  args.writeBigUInt64LE(skeleton.put(ids, setTidOffset), 64);
  args.writeBigUInt64LE(1n, 72);
  const batch = new CallBatch();
  batch.add('clone3', syscalls.clone3, skeleton.put(args), cloneArgsBytes);
  const [made] = skeleton.run(batch);
  try {
    batch.check();
  } catch (cause) {
    if (!isKernelError(cause, 'EEXIST')) throw cause;
    const what = `the id ${tid} of a thread is in use on the target`;
    throw new MigrationError('pid-taken', what, { object: `tid ${tid}` }, { cause });
  }
  skeleton.threads.set(tid, made!);
}

/** A thread that is no more at home: it leaves without touching the program's memory. */
function end(skeleton: Skeleton, tid: number): void {
  const outer = skeleton.threads.get(tid)!;
  const batch = new CallBatch();
  batch.add('set_robust_list', syscalls.setRobustList, 0, 24);
  batch.add('set_tid_address', syscalls.setTidAddress, 0);
  batch.add('exit', syscalls.exit, 0);
  skeleton.threads.delete(tid);
  try {
    skeleton.run(batch, outer);
  } catch (error) {
    if (!isKernelError(error, 'ESRCH')) throw error;
  }
  // It may not have been seen to end: what nobody collects keeps the end of the process from its parent.
  while (native.waitTracee(outer, endMs).state === 'stopped');
}

// Registers, masks and what is pending are loaded at the end in any case; so are the rseq areas of later threads.
function differs(a: Thread, b: Thread): boolean {
  const lasting = ({
    registers: _r,
    extendedState: _x,
    signalMask: _m,
    pending: _p,
    wait: _w,
    ...rest
  }: Thread) =>
    JSON.stringify(rest, (_, value) =>
      typeof value === 'bigint'
        ? `${value}n`
        : value instanceof Uint8Array
          ? Buffer.from(value).toString('hex')
          : value,
    );
  return lasting(a) !== lasting(b);
}

function equip(skeleton: Skeleton, thread: Thread, known: Thread | undefined, notes: string[]): void {
  const tid = skeleton.threads.get(thread.tid)!;
  const stack = Buffer.alloc(24);
  stack.writeBigUInt64LE(thread.alternateStack.address, 0);
  stack.writeUInt32LE(thread.alternateStack.flags, 8);
  stack.writeBigUInt64LE(thread.alternateStack.bytes, 16);
  const batch = new CallBatch();
  batch.add('sigaltstack', syscalls.sigaltstack, skeleton.put(stack, stackOffset), 0);
  batch.add('set_tid_address', syscalls.setTidAddress, thread.clearChildTid);
  if (thread.robustList.bytes > 0n) {
    batch.add('set_robust_list', syscalls.setRobustList, thread.robustList.head, thread.robustList.bytes);
  }
  const name = Buffer.from(`${thread.name}\0`);
  batch.add('prctl(PR_SET_NAME)', syscalls.prctl, prctl.setName, skeleton.put(name, nameOffset), 0, 0, 0);
  // The area of the first thread lies in memory that stays.
  if (tid === skeleton.pid) addRseq(batch, thread.rseq, known?.rseq ?? null);
  const tidAddress = 1;
  skeleton.run(batch, tid);
  batch.check((index) => index === tidAddress);
  schedule(tid, thread, notes);
}

/**
 * The kernel writes to a registered area whenever the thread runs. Those of later threads lie in memory that may have
 * become something else since the threads were read, so they are registered when nothing changes any more.
 */
function registerRseq(skeleton: Skeleton, thread: Thread): void {
  const tid = skeleton.threads.get(thread.tid)!;
  if (tid === skeleton.pid || thread.rseq === null) return;
  const batch = new CallBatch();
  addRseq(batch, thread.rseq, null);
  skeleton.run(batch, tid);
  batch.check();
}

function addRseq(batch: CallBatch, rseq: Thread['rseq'], was: Thread['rseq']): void {
  const unregister = 1;
  if (was && rseq && was.address === rseq.address && was.size === rseq.size) return;
  if (was) batch.add('rseq', syscalls.rseq, was.address, was.size, unregister, was.signature);
  if (rseq) batch.add('rseq', syscalls.rseq, rseq.address, rseq.size, 0, rseq.signature);
}

function schedule(
  tid: number,
  { scheduling, affinity, ioPriority, timerSlackNs, tid: inner }: Thread,
  notes: string[],
): void {
  // A slice that the kernel chose would become one that was asked for.
  const runtime = normalPolicies.has(scheduling.policy) ? 0n : scheduling.runtime;
  native.setScheduling(tid, { ...scheduling, runtime });
  if (affinity) {
    try {
      native.setAffinity(tid, affinity);
    } catch (error) {
      if (!isKernelError(error, 'EINVAL')) throw error;
      notes.push(`thread ${inner} was bound to CPUs that this host does not have; it may run on any`);
    }
  }
  native.setIoPriority(tid, ioPriority);
  writeFileSync(`/proc/${tid}/timerslack_ns`, String(timerSlackNs));
}

/**
 * The very last step: the threads stand where they stood at home. A relative wait is entered once and taken out again,
 * so that the kernel holds its deadline; the registers then say, as at home, that it is to be restarted.
 */
export function armWaits(skeleton: Skeleton, threads: readonly Thread[]): void {
  for (const thread of threads) {
    if (thread.wait === null) continue;
    const registers = fromBytes(thread.registers);
    const tid = skeleton.threads.get(thread.tid)!;
    const call = waitingCall(skeleton, registers, thread.wait.remainingNs);
    const table = call.table();
    native.armWait(tid, skeleton.gadget, table);
    results.set(thread, call.raw(0));
  }
}

const results = new WeakMap<Thread, bigint>();

function waitingCall(skeleton: Skeleton, registers: Registers, remainingNs: bigint): CallBatch {
  const number = Number(get(registers, 'originalRax'));
  const given = (['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9'] as const).map((name) => get(registers, name));
  const timespec = () => {
    const bytes = Buffer.alloc(16);
    bytes.writeBigInt64LE(remainingNs / 1000000000n, 0);
    bytes.writeBigInt64LE(remainingNs % 1000000000n, 8);
    return skeleton.put(bytes);
  };
  if (number === syscalls.nanosleep) given[0] = timespec();
  else if (number === syscalls.clockNanosleep) given[2] = timespec();
  else if (number === syscalls.futex) given[3] = timespec();
  else if (number === syscalls.poll) given[2] = (remainingNs + 999999n) / 1000000n;
  else throw new MigrationError('protocol-violation', `system call ${number} has no time that remains`);
  const batch = new CallBatch();
  batch.add('wait', number, ...given.map((word) => BigInt.asIntN(64, word)));
  return batch;
}

export function load(skeleton: Skeleton, threads: readonly Thread[]): void {
  for (const thread of threads) {
    const tid = skeleton.threads.get(thread.tid)!;
    native.writeThread(tid, registersOf(thread), fitted(thread.extendedState, thread.tid), thread.signalMask);
  }
}

function registersOf(thread: Thread): Registers {
  const registers = fromBytes(thread.registers);
  const result = results.get(thread);
  // The wait was over before it began: its call has returned.
  if (result !== undefined && result !== restartBlock)
    return withRegisters(registers, { rax: result, originalRax: -1n });
  if (result !== undefined || getSigned(registers, 'rax') !== restartBlock) return registers;
  // Without a deadline of ours (none, or an absolute one) the call is simply made again.
  return withRegisters(registers, { rax: restartUnlessHandled });
}
