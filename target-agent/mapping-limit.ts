/** How many mappings a process may have here: vm.max_map_count, Documentation/admin-guide/sysctl/vm.rst. */
import { readFileSync } from 'node:fs';
import type { Blocker } from '../shared/errors.js';

/** The stub's, and those that are cut in two for a moment. */
const reserve = 8;

export function detectMappingLimit(mappings: number): Blocker[] {
  return judgeMappings(mappings, Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8')));
}

/** Pure. */
export function judgeMappings(mappings: number, most: number): Blocker[] {
  if (mappings + reserve <= most) return [];
  const object = 'vm.max_map_count';
  const what = `the process has ${mappings} mappings, and ${object} allows ${most} on the target`;
  return [{ code: 'no-memory', what, object }];
}
