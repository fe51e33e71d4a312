/** The streams of a command, as what writes to them needs them. */
import type { ExitCode, MigrationError } from '../shared/errors.js';
import { formatFailure, formatStack } from './failure.js';
import { type Styles, stylesFor } from './styles.js';

export interface Terminal {
  out: NodeJS.WriteStream;
  err: NodeJS.WriteStream;
  outStyles: Styles;
  errStyles: Styles;
}

export function terminal(): Terminal {
  const { stdout, stderr } = process;
  // A reader that went away (`| head`) or a full disk is no reason to break off a migration, least of all after the
  // decision: what was to be said is lost.
  for (const stream of [stdout, stderr]) stream.on('error', () => undefined);
  return {
    out: stdout,
    err: stderr,
    outStyles: stylesFor(stdout, process.env),
    errStyles: stylesFor(stderr, process.env),
  };
}

/** Tells the error on standard error and returns the exit code it asks for. */
export function tellFailure(
  error: MigrationError,
  task: string | null,
  { err, errStyles }: Terminal,
): ExitCode {
  err.write(`${formatFailure(error, task, errStyles)}\n`);
  tellStack(error, err);
  return error.exit;
}

/** With GODWIT_DEBUG=1, where the error comes from. */
export function tellStack(error: MigrationError, err: NodeJS.WriteStream): void {
  if (process.env.GODWIT_DEBUG === '1') err.write(`${formatStack(error)}\n`);
}
