/** Names of anonymous memory: PR_SET_VMA_ANON_NAME, prctl(2), Linux 5.17 with CONFIG_ANON_VMA_NAME. */
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import type { AddressRange } from '../shared/ranges.js';
import type { Skeleton } from './skeleton.js';

const setVma = 0x53564d41;
const setAnonymousName = 0;
const EINVAL = 22;

export interface Labelled extends AddressRange {
  /** Empty for none. */
  label: string;
}

/** False where this kernel has no names for memory. */
export function applyLabels(skeleton: Skeleton, pieces: readonly Labelled[]): boolean {
  let possible = true;
  for (const label of new Set(pieces.map((piece) => piece.label))) {
    const name = label === '' ? 0n : skeleton.put(Buffer.from(`${label}\0`));
    const batch = new CallBatch();
    for (const { start, end } of pieces.filter((piece) => piece.label === label))
      batch.add('prctl(PR_SET_VMA)', syscalls.prctl, setVma, setAnonymousName, start, end - start, name);
    skeleton.run(batch);
    batch.check((_, errno) => {
      if (errno === EINVAL) possible = false;
      return errno === EINVAL;
    });
  }
  return possible;
}
