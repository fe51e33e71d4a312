/**
 * A program that executes another one is another program: nothing that was sent of it is of use, and what it is now
 * has to be looked at from the beginning. The walk starts over by itself, but not for ever.
 */
import { MigrationError } from '../shared/errors.js';
import { interrupted } from './interruption.js';
import type { MigrationOptions } from './options.js';
import type { Report } from './report.js';

/** A program that is another one each time will not be caught. */
export const mostStarts = 4;

/** Throws what `attempt` throws; MigrationError 'process-exec' when the last start met the same as those before. */
export async function startingOver(
  options: Pick<MigrationOptions, 'onEvent' | 'signal'>,
  attempt: () => Promise<Report>,
): Promise<Report> {
  const startedMs = performance.now();
  for (let start = 1; ; start += 1) {
    try {
      const report = await attempt();
      if (start === 1) return report;
      const note = `it executed another program during the rounds: the migration started ${start} times`;
      return { ...report, totalMs: performance.now() - startedMs, notes: [...report.notes, note] };
    } catch (error) {
      if (!(error instanceof MigrationError) || error.code !== 'process-exec') throw error;
      if (start === mostStarts) throw again(error);
      if (options.signal?.aborted) throw interrupted();
      options.onEvent({ event: 'restart', start: start + 1, most: mostStarts, what: error.message });
    }
  }
}

function again(error: MigrationError): MigrationError {
  const what = `${error.message}, the last of ${mostStarts} starts`;
  return new MigrationError('process-exec', what, error.subject, { cause: error });
}
