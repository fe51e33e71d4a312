/** The folder of what must outlive an agent and a power loss: on a disk, and nobody else's. */
import { lstatSync, mkdirSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { MigrationError } from './errors.js';

export const defaultDurableDirectory = '/var/lib/godwit';

const writableByOthers = 0o022;
const sticky = 0o1000;

/** What was chosen, or GODWIT_STATE, or the default. */
export function durableDirectory(chosen?: string): string {
  return path.resolve(chosen ?? (process.env.GODWIT_STATE || defaultDurableDirectory));
}

/**
 * Makes the folder, for its owner alone, where there is none. Returns its real path. Throws MigrationError
 * 'journal-unusable' where somebody else could put a record of his own there: in the folder itself, or by replacing one
 * above it.
 */
export function openDurableDirectory(directory: string): string {
  let real: string;
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    real = realpathSync(directory);
  } catch (cause) {
    throw unusable(`${directory} cannot be made: ${(cause as Error).message}`, directory, cause);
  }
  for (let at = real, inner = true; ; inner = false) {
    const { uid, mode } = lstatSync(at);
    const trusted = uid === 0 || uid === process.geteuid!();
    // In a sticky folder above it (/tmp) nobody can replace what is another's; rename(2).
    const closed = (mode & writableByOthers) === 0 || (!inner && (mode & sticky) !== 0);
    if (!trusted) throw unusable(`${at} belongs to user ${uid}`, directory);
    if (!closed) throw unusable(`${at} can be written by others than its owner`, directory);
    const above = path.dirname(at);
    if (above === at) return real;
    at = above;
  }
}

export function unusable(what: string, object: string, cause?: unknown): MigrationError {
  return new MigrationError('journal-unusable', what, { object }, cause === undefined ? {} : { cause });
}
