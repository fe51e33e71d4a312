/** Memory that was in huge pages is again: madvise(2), MADV_COLLAPSE, Linux 6.1. */
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import type { Skeleton } from './skeleton.js';

const collapseAdvice = 25;

/** As far as there are huge pages to be had: what stays small has the same content. */
export function collapse(skeleton: Skeleton, ranges: readonly (readonly [bigint, bigint])[]): void {
  const batch = new CallBatch();
  for (const [start, end] of ranges)
    batch.add('madvise(MADV_COLLAPSE)', syscalls.madvise, start, end - start, collapseAdvice);
  skeleton.run(batch);
}
