/**
 * Leaving out mappings that hold nothing. Reading the page table entries of a hole costs as much as those of memory:
 * 2.5 s for a terabyte. smaps tells which mappings are empty, but walks all memory that is there: it is worth asking
 * only where there are reservations.
 */
import { parseSmaps } from '../../shared/proc/mappings.js';
import { type AddressRange, bytesOf, mergeRanges, subtract } from '../../shared/ranges.js';
import type { TrackedMapping } from '../layout.js';
import type { SourceProcess } from '../source-process.js';

/** Less than this in one mapping is read all the same: 10 ms. */
const reservationBytes = 4n << 30n;

export interface Populated {
  populated: TrackedMapping[];
  empty: AddressRange[];
}

/** Exact for a stopped process; of one that runs, what is empty may be filled by now. */
export function withoutEmpty(process: SourceProcess, mappings: readonly TrackedMapping[]): Populated {
  if (!mappings.some((mapping) => bytesOf(mapping) >= reservationBytes)) {
    return { populated: [...mappings], empty: [] };
  }
  const holes = mergeRanges(
    parseSmaps(process.read('smaps') ?? '').filter(
      ({ residentBytes, swappedBytes }) => residentBytes === 0 && swappedBytes === 0,
    ),
  );
  const populated = mappings.flatMap((mapping) =>
    subtract([mapping], holes).map((range) => ({ ...range, anonymous: mapping.anonymous })),
  );
  return { populated, empty: subtract(mappings, mergeRanges(populated)) };
}
