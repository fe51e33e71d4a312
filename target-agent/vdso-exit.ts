/**
 * Threads that were stopped inside the vdso of another kernel finish its function here, under control: its code and
 * data are where they were at home, and where it asks for the time stamp counter it is told that of its home. Only then
 * its entry points are led elsewhere. Such a function ends after some forty instructions; one that makes a system call
 * makes it here.
 */
import { writeSync } from 'node:fs';
import { native } from '../native/index.js';
import { CallBatch } from '../shared/injection/batch.js';
import { fromBytes, get, toBytes } from '../shared/injection/x86-64/registers.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import type { ProgramVdso, UnfinishedVdso } from '../shared/protocol/messages.js';
import { type AddressRange, flatten, mergeRanges } from '../shared/ranges.js';
import type { State } from '../shared/state/index.js';
import type { Thread } from '../shared/state/threads.js';
import { setActions } from './restore/signals.js';
import type { Skeleton } from './skeleton.js';

const protectionReadExecute = 5;
const privateAnonymousFixedNoReplace = 0x2 | 0x20 | 0x100000;
/** getrandom with a large buffer takes the most. */
const mostSteps = 20000;
const everySignal = (1n << 64n) - 1n;
const trap = 1n << 4n; // SIGTRAP, which ends each step

/** Returns the threads as they are then. Throws KernelError where one does not come out. */
export function finishVdso(
  skeleton: Skeleton,
  { threads, signals }: Pick<State, 'threads' | 'signals'>,
  { memory, timeStamp }: UnfinishedVdso,
  { start, image }: ProgramVdso,
): Thread[] {
  const known = { start, end: start + BigInt(image.byteLength) };
  const code = mergeRanges([known, ...memory.map(rangeOf)]);
  const inside = ({ registers }: Thread) => {
    const at = get(fromBytes(registers), 'rip');
    return code.some((range) => range.start <= at && at < range.end);
  };
  putBack(skeleton, memory);
  const finished = threads.map((thread) =>
    inside(thread) ? stepOut(skeleton, thread, flatten(code), timeStamp) : thread,
  );
  const removed = new CallBatch();
  for (const { start, end } of mergeRanges(memory.map(rangeOf)))
    removed.add('munmap', syscalls.munmap, start, end - start);
  skeleton.run(removed);
  removed.check();
  // A program that ignores SIGTRAP does so no more after a step (kernel/signal.c, force_sig_info_to_task).
  setActions(skeleton, signals);
  return finished;
}

function putBack(skeleton: Skeleton, memory: UnfinishedVdso['memory']): void {
  const batch = new CallBatch();
  for (const { start, end } of mergeRanges(memory.map(rangeOf))) {
    const flags = privateAnonymousFixedNoReplace;
    batch.add('mmap', syscalls.mmap, start, end - start, protectionReadExecute, flags, -1, 0);
  }
  skeleton.run(batch);
  batch.check();
  for (const { start, bytes } of memory)
    writeSync(skeleton.memory, bytes, 0, bytes.byteLength, Number(start));
}

function stepOut(skeleton: Skeleton, thread: Thread, code: BigUint64Array, timeStamp: bigint): Thread {
  const tid = skeleton.threads.get(thread.tid)!;
  native.writeThread(tid, fromBytes(thread.registers), thread.extendedState, everySignal & ~trap);
  native.stepOut(tid, code, timeStamp, mostSteps);
  const [image] = native.readThreads([tid]);
  native.writeThread(tid, undefined, undefined, everySignal);
  return { ...thread, registers: toBytes(image!.registers), extendedState: image!.extendedState };
}

function rangeOf({ start, bytes }: UnfinishedVdso['memory'][number]): AddressRange {
  return { start, end: start + BigInt(bytes.byteLength) };
}
