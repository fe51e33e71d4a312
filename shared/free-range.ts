/** Room in an address space for something of ours. */
import { type AddressRange, pageBytes } from './ranges.js';

const lowest = 0x100000000n;
const highest = 0x7f0000000000n;

/** A free range far from where mmap places things: in the middle of the largest hole. `taken` is sorted. */
export function freeRange(taken: readonly AddressRange[], bytes: bigint): bigint {
  let best: AddressRange = { start: lowest, end: lowest };
  let from = lowest;
  for (const range of [...taken, { start: highest, end: highest }]) {
    const end = range.start < highest ? range.start : highest;
    if (end - from > best.end - best.start) best = { start: from, end };
    if (range.end > from) from = range.end;
  }
  if (best.end - best.start < bytes * 3n) throw new Error('the address space has no free range');
  const middle = (best.start + best.end) / 2n;
  return middle - (middle % pageBytes);
}
