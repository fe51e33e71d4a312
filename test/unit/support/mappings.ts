/** Mappings for tests, by page number. */
import type { Mapping } from '../../../shared/state/memory.js';

export const page = 4096n;

export function mapping(first: number, pages: number, more: Partial<Mapping> = {}): Mapping {
  const start = BigInt(first) * page;
  return {
    start,
    end: start + BigInt(pages) * page,
    protection: 3,
    kind: 'anonymous',
    name: '',
    offset: 0n,
    growsDown: false,
    noReserve: false,
    accounted: false,
    label: '',
    sealed: false,
    advice: [],
    ...more,
  };
}

/** A private mapping of a file, from page `offset` of it. */
export function fileMapping(first: number, pages: number, name: string, offset = 0): Mapping {
  return mapping(first, pages, { kind: 'file', name, offset: BigInt(offset) * page, protection: 1 });
}
