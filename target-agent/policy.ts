/** What this target agrees to become: rights that it does not have itself it cannot give. */
import { readFileSync } from 'node:fs';
import { MigrationError } from '../shared/errors.js';
import { parseStatus } from '../shared/proc/status.js';
import type { State } from '../shared/state/index.js';

/** Read once: a shepherd keeps its rights, and this is asked in the freeze. */
let permitted: bigint | undefined;

/** Throws MigrationError 'identity-refused'. */
export function assertAllowed({ credentials }: Pick<State, 'credentials'>): void {
  permitted ??= parseStatus(readFileSync('/proc/self/status', 'utf8')).capabilities.permitted;
  const missing = credentials.permitted & ~permitted;
  if (missing === 0n) return;
  const what = `the process holds capabilities that the target agent lacks (mask ${missing.toString(16)})`;
  throw new MigrationError('identity-refused', what, { object: 'capabilities' });
}
