/** What the process takes of the host it goes to: the target compares it with what it has. */
import type { Mapping } from '../shared/proc/mappings.js';
import { isSpecial } from '../shared/proc/mappings.js';
import type { Needs } from '../shared/protocol/messages.js';
import type { Inspection } from './inspection.js';

const pageBytes = 4096;
const tableEntryBytes = 8;

/**
 * `mappings` with what smaps tells of each. Files count by what the program changed in them; the rest of them is in
 * the page cache of the target, or is not.
 */
export function needsOf({ mappings, view }: Pick<Inspection, 'mappings' | 'view'>): Needs {
  const program = mappings.filter((mapping) => !isSpecial(mapping));
  const own = sum(program.map(({ anonymousBytes }) => anonymousBytes ?? 0)) + view.leader.status.vmSwapBytes;
  const accounted = program.filter(({ flags }) => flags?.has('ac')).map(bytesOf);
  return {
    privateBytes: own + Math.ceil(own / pageBytes) * tableEntryBytes,
    accountedBytes: sum(accounted),
    largestAccountedBytes: accounted.reduce((most, bytes) => Math.max(most, bytes), 0),
    mappings: mappings.length,
    lowestAddress: program[0]?.start ?? 0n,
  };
}

function bytesOf({ start, end }: Mapping): number {
  return Number(end - start);
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
