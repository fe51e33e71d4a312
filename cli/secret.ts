/** `migrate secret`, and how the other commands find the file it was written to. */
import { MigrationError } from '../shared/errors.js';
import { createSecret, readSecret, type Secret } from '../shared/secret.js';
import { secretVariable } from './program.js';

export function printSecret(out: NodeJS.WritableStream): void {
  out.write(`${createSecret()}\n`);
}

/** Throws MigrationError 'secret-missing' where no file is named, and what readSecret throws. */
export function namedSecret(file: string | undefined): Secret {
  if (!file) {
    throw new MigrationError(
      'secret-missing',
      `neither --secret-file nor ${secretVariable} names a secret file`,
    );
  }
  return readSecret(file);
}
