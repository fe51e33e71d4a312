/**
 * Guard regions (madvise(2), MADV_GUARD_INSTALL, Linux 6.13): pages inside a mapping that raise a signal when touched.
 * They show in no list of mappings, only in the page tables.
 */
import { native, type Ranges, ScanMode } from '../native/index.js';
import { type AddressRange, flatten, mergeRanges, unflatten } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { trackedMappings } from './layout.js';
import type { SourceProcess } from './source-process.js';

/**
 * Those of the stopped process. `holes` are the anonymous pages, as far as a tracker knows them, that have no content:
 * no other can be a guard. None where the kernel has no word for them (before 6.15).
 */
export function guardRegions(
  process: SourceProcess,
  layout: readonly Mapping[],
  holes: Ranges | undefined,
): AddressRange[] {
  const mappings = trackedMappings(layout).filter(({ anonymous }) => !holes || !anonymous);
  const spans = mergeRanges([...mappings, ...unflatten(holes ?? new BigUint64Array(0))]);
  const { pages } = native.scanPages(process.pagemap, flatten(spans), ScanMode.guards);
  const found: AddressRange[] = [];
  for (let i = 0; i < pages.length; i += 3) found.push({ start: pages[i]!, end: pages[i + 1]! });
  return found;
}
