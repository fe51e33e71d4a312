/**
 * Runs `migrate` as a process of its own, as a person would: it traces the program, whose parent is the demo's shell,
 * and one process should not wait for both.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { isErrorCode, MigrationError } from '../../shared/errors.js';
import type { FailureReport, MigrationEvent, Report } from '../../source-agent/report.js';
import { eachLine } from './lines.js';

export interface MoveOptions {
  /** What runs godwit: node and cli/main.js. */
  command: readonly string[];
  pid: number;
  target: string;
  secretFile: string;
  onEvent: (event: MigrationEvent) => void;
  signal: AbortSignal;
}

/** The report of `migrate --json`. Throws what it failed with as a MigrationError. */
export async function move(options: MoveOptions): Promise<Report> {
  const { command, pid, target, secretFile, signal } = options;
  // What it records ends with the folder of the secret.
  const records = path.join(path.dirname(secretFile), 'records');
  const given = [String(pid), target, '--secret-file', secretFile, '--state-dir', records, '--json'];
  const [node, ...rest] = [...command, ...given];
  const child = spawn(node!, rest, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const interrupt = () => child.kill('SIGINT');
  if (signal.aborted) interrupt();
  signal.addEventListener('abort', interrupt, { once: true });
  let result: Report | FailureReport | undefined;
  eachLine(child.stdout, (line) => {
    const event = JSON.parse(line) as MigrationEvent | Report | FailureReport;
    if (event.event === 'result') result = event;
    else options.onEvent(event);
  });
  const [code] = (await once(child, 'close')) as [number | null];
  signal.removeEventListener('abort', interrupt);
  if (result?.outcome === 'moved') return result;
  if (!result)
    throw new MigrationError('internal', `migrate ended with exit code ${code} and no result`, { pid });
  const failure = isErrorCode(result.code) ? result.code : 'internal';
  throw new MigrationError(failure, result.what, { pid }, { blockers: result.blockers });
}
