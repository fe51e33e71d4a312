/** The mappings of the program as the target must lay them out, and which of them a tracker can watch. Pure. */

import { isPrivate } from '../shared/layout.js';
import type { Mapping as ProcMapping } from '../shared/proc/mappings.js';
import { type AddressRange, overlaps } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { stateOfMappings } from './capture/memory.js';

/** A mapping whose pages may travel: private memory, anonymous or of a file. */
export interface TrackedMapping extends AddressRange {
  anonymous: boolean;
}

/** The layout without the agent's own stub. */
export function layoutOf(mappings: readonly ProcMapping[], stub: AddressRange | null): Mapping[] {
  return stateOfMappings(mappings.filter((mapping) => !stub || !overlaps(mapping, stub)));
}

export function trackedMappings(layout: readonly Mapping[]): TrackedMapping[] {
  return layout
    .filter(isPrivate)
    .map(({ start, end, kind }) => ({ start, end, anonymous: kind === 'anonymous' }));
}
