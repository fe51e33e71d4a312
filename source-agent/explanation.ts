/** What really happened to the process where a system call on it failed: it ended, or is another program by now. */
import { setTimeout as sleep } from 'node:timers/promises';
import { asMigrationError, type ErrorCode, isKernelError, MigrationError } from '../shared/errors.js';
import type { SourceProcess } from './source-process.js';

/** A process that was killed is not gone at once: its memory goes first, and takes its time. */
const patienceMs = 1000;
const pauseMs = 5;

/** What a process that is ending looks like to whoever reads it meanwhile: parts of it are gone. */
const signsOfAnEnd: ReadonlySet<ErrorCode> = new Set([
  'no-such-process',
  'no-injection-point',
  'unreadable-state',
]);

/** Whatever failed first, where the program has ended or become another one there is nothing else to tell. */
export async function explain(process: SourceProcess, error: unknown): Promise<MigrationError> {
  const cause = firstOf(error);
  const unexplained =
    isKernelError(cause) || (cause instanceof MigrationError && signsOfAnEnd.has(cause.code));
  if (!unexplained) return asMigrationError(cause);
  const about = (code: 'process-ended' | 'process-dead' | 'process-exec', what: string) =>
    new MigrationError(code, `process ${process.pid} ${what}`, { pid: process.pid }, { cause });
  for (const deadline = performance.now() + patienceMs; performance.now() < deadline; await sleep(pauseMs)) {
    // A thread that executes another program ends the first one, and takes its place a moment later.
    if (process.livesWithoutLeader) continue;
    if (process.ended) return about('process-ended', 'ended during the migration');
    if (process.replaced) return about('process-exec', 'became another program during the migration');
  }
  if (process.livesWithoutLeader)
    return about('process-dead', 'goes on without its first thread, which ended during the migration');
  return asMigrationError(cause, 'internal', { pid: process.pid });
}

/** What was thrown first, where leaving a scope failed because of it (SuppressedError). */
function firstOf(error: unknown): unknown {
  let first = error;
  while (first instanceof Error && 'suppressed' in first) first = first.suppressed;
  return first;
}
