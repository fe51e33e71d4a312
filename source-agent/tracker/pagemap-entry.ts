/** One word of /proc/PID/pagemap: Documentation/admin-guide/mm/pagemap.rst. */
import { readSync } from 'node:fs';
import { pageBytes } from '../../shared/ranges.js';

export function readEntry(pagemap: number, address: bigint): bigint {
  const word = Buffer.alloc(8);
  readSync(pagemap, word, 0, 8, Number((address / pageBytes) * 8n));
  return word.readBigUInt64LE();
}

export function isSoftDirty(entry: bigint): boolean {
  return ((entry >> 55n) & 1n) === 1n;
}

/** 0 where the page is not present, or frames are not shown to us (CAP_SYS_ADMIN). */
export function frameOf(entry: bigint): bigint {
  return entry >> 63n === 1n ? entry & ((1n << 55n) - 1n) : 0n;
}
