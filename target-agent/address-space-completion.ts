/**
 * What can only be done to an address space when nothing of it will change any more: guard regions (pages would no
 * longer land in them), locking of mappings to come, merging of all memory, and last of all the seals.
 */
import { isKernelError, MigrationError } from '../shared/errors.js';
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import { firstEndingAfter } from '../shared/ranges.js';
import type { Mapping, MemoryState } from '../shared/state/memory.js';
import type { Skeleton } from './skeleton.js';

const setMemoryMerge = 67;
const unmergeable = 13;
const guardInstall = 102;
const lockFutureFlags = { no: 0, yes: 2, 'on-fault': 6 } as const; // MCL_FUTURE, MCL_ONFAULT
const lockOnFault = 1;

/** Throws MigrationError 'kernel-differs' where this kernel cannot seal what is sealed. */
export function assertAvailable(skeleton: Skeleton, layout: readonly Mapping[]): void {
  const sealed = layout.find((mapping) => mapping.sealed && mapping.kind !== 'special');
  if (!sealed) return;
  try {
    skeleton.call('mseal', syscalls.mseal, sealed.start, 0, 0);
  } catch (cause) {
    if (!isKernelError(cause, 'ENOSYS')) throw cause;
    throw new MigrationError(
      'kernel-differs',
      'memory is sealed, and this kernel has no mseal(2)',
      {},
      { cause },
    );
  }
}

/** Settings of the whole address space, once its mappings are those the program will have. */
export function applySettings(
  skeleton: Skeleton,
  layout: readonly Mapping[],
  { lockFuture, mergeAny }: MemoryState,
): void {
  const batch = new CallBatch();
  if (mergeAny) {
    batch.add('prctl(PR_SET_MEMORY_MERGE)', syscalls.prctl, setMemoryMerge, 1, 0, 0, 0);
    for (const { start, end, kind, advice } of layout) {
      if (kind !== 'anonymous' || advice.includes('mg')) continue;
      batch.add('madvise(MADV_UNMERGEABLE)', syscalls.madvise, start, end - start, unmergeable);
    }
  }
  if (lockFuture !== 'no') batch.add('mlockall', syscalls.mlockall, lockFutureFlags[lockFuture]);
  skeleton.run(batch);
  batch.check();
}

/** Guards, and last of all the seals. */
export function complete(
  skeleton: Skeleton,
  layout: readonly Mapping[],
  guards: readonly (readonly [bigint, bigint])[],
): void {
  const batch = new CallBatch();
  /** Locking brings pages into memory, and fails at a guard when all is locked. */
  const mayFail = new Set<number>();
  for (const [start, end] of guards) {
    for (let i = firstEndingAfter(layout, start); i < layout.length && layout[i]!.start < end; i += 1) {
      const mapping = layout[i]!;
      const from = mapping.start > start ? mapping.start : start;
      const bytes = (mapping.end < end ? mapping.end : end) - from;
      // The kernel takes no guards in locked memory.
      const locked = mapping.advice.includes('lo');
      if (locked) batch.add('munlock', syscalls.munlock, from, bytes);
      batch.add('madvise(MADV_GUARD_INSTALL)', syscalls.madvise, from, bytes, guardInstall);
      const onFault = mapping.advice.includes('lf') ? lockOnFault : 0;
      if (locked) mayFail.add(batch.add('mlock2', syscalls.mlock2, from, bytes, onFault));
    }
  }
  for (const { start, end, kind, sealed } of layout) {
    if (sealed && kind !== 'special') batch.add('mseal', syscalls.mseal, start, end - start, 0);
  }
  skeleton.run(batch);
  batch.check((index) => mayFail.has(index));
}
