import { MigrationError } from '../errors.js';

/** Refuses text that a parser of /proc does not understand: guessing would lose state silently. */
export function malformed(file: string, what: string): MigrationError {
  return new MigrationError('unknown-state', `cannot make sense of ${file}: ${what}`);
}
