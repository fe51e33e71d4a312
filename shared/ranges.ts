/** Address ranges: pure arithmetic. Addresses are bigints; ranges are half open and page aligned. */

export interface AddressRange {
  readonly start: bigint;
  readonly end: bigint;
}

export const pageBytes = 4096n;

export function bytesOf(range: AddressRange): bigint {
  return range.end - range.start;
}

export function overlaps(a: AddressRange, b: AddressRange): boolean {
  return a.start < b.end && b.start < a.end;
}

/** "7f00-8f00", as /proc/PID/maps writes it. */
export function formatRange({ start, end }: AddressRange): string {
  return `${start.toString(16)}-${end.toString(16)}`;
}

/** Sorted ranges with touching neighbours joined. */
export function mergeRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const merged: { start: bigint; end: bigint }[] = [];
  for (const range of [...ranges].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0))) {
    const last = merged.at(-1);
    if (last && range.start <= last.end) last.end = range.end > last.end ? range.end : last.end;
    else merged.push({ ...range });
  }
  return merged;
}

/** Index of the first of `ranges` (sorted, disjoint) that ends above an address; their number where none does. */
export function firstEndingAfter(ranges: readonly AddressRange[], address: bigint): number {
  let low = 0;
  for (let high = ranges.length; low < high; ) {
    const middle = (low + high) >> 1;
    if (ranges[middle]!.end <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The flat form the addon takes: [start, end, start, end ...]. */
export function flatten(ranges: readonly AddressRange[]): BigUint64Array {
  const flat = new BigUint64Array(ranges.length * 2);
  ranges.forEach((range, i) => {
    flat[i * 2] = range.start;
    flat[i * 2 + 1] = range.end;
  });
  return flat;
}

export function unflatten(flat: BigUint64Array): AddressRange[] {
  return Array.from({ length: flat.length / 2 }, (_, i) => ({ start: flat[i * 2]!, end: flat[i * 2 + 1]! }));
}

/** The parts of `ranges` (sorted, disjoint) that no range of `holes` (sorted, disjoint) covers. */
export function subtract(ranges: readonly AddressRange[], holes: readonly AddressRange[]): AddressRange[] {
  const rest: AddressRange[] = [];
  let next = 0;
  for (const { start, end } of ranges) {
    let from = start;
    while (next < holes.length && holes[next]!.end <= from) next += 1;
    for (let i = next; i < holes.length && holes[i]!.start < end; i += 1) {
      if (holes[i]!.start > from) rest.push({ start: from, end: holes[i]!.start });
      if (holes[i]!.end > from) from = holes[i]!.end;
    }
    if (from < end) rest.push({ start: from, end });
  }
  return rest;
}
