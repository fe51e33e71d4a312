/** Which memory is in transparent huge pages: Documentation/admin-guide/mm/transhuge.rst. */
import { native, ScanMode } from '../native/index.js';
import { type AddressRange, flatten, mergeRanges } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import type { SourceProcess } from './source-process.js';

const hugeBytes = 1n << 21n;

/** Whole huge pages of anonymous memory. */
export function hugeRanges(process: SourceProcess, layout: readonly Mapping[]): AddressRange[] {
  // Smaller mappings hold none, and need not be looked at.
  const spans = layout.filter(({ kind, start, end }) => kind === 'anonymous' && end - start >= hugeBytes);
  const { pages } = native.scanPages(process.pagemap, flatten(spans), ScanMode.huge);
  const found: AddressRange[] = [];
  for (let i = 0; i < pages.length; i += 3) found.push({ start: pages[i]!, end: pages[i + 1]! });
  return mergeRanges(found);
}
