/** `migrate <pid> host:port` */

import { asMigrationError, ExitCode } from '../shared/errors.js';
import { formatAddress } from '../shared/protocol/address.js';
import type { MigrationEvent } from '../source-agent/report.js';
import { failureReport } from './failure.js';
import { Interrupts } from './interrupts.js';
import { Progress } from './progress.js';
import { formatReport } from './report.js';
import type { MigrateRequest } from './requests.js';
import { namedSecret } from './secret.js';
import { type Terminal, tellFailure, tellStack } from './terminal.js';

export async function migrateCommand(request: MigrateRequest, terminal: Terminal): Promise<ExitCode> {
  const { pid, target, secretFile, json, quiet, ...options } = request;
  const { out, err, outStyles } = terminal;
  const progress = new Progress(err);
  const printJson = (line: object) => out.write(`${JSON.stringify(line)}\n`);
  const onEvent = (event: MigrationEvent) => {
    if (quiet) return;
    if (json) printJson(event);
    else progress.show(event);
  };
  const say = (text: string) => {
    if (!quiet && !json) progress.line(text);
  };
  using interrupts = new Interrupts(
    () => say('Stopping: what was begun is undone, the process goes on here.'),
    () => say('Already stopping.'),
  );
  try {
    const secret = namedSecret(secretFile);
    // Loaded only now: help and secrets need no addon.
    const { migrate } = await import('../source-agent/migrate.js');
    const report = await migrate({ pid, target, secret, ...options, onEvent, signal: interrupts.signal });
    progress.end();
    if (json) printJson(report);
    else if (!quiet) out.write(`${formatReport(report, formatAddress(target), outStyles)}\n`);
    return ExitCode.success;
  } catch (thrown) {
    progress.end();
    const error = asMigrationError(thrown);
    if (!json) return tellFailure(error, `moving process ${pid} to ${formatAddress(target)}`, terminal);
    printJson(failureReport(error, pid));
    tellStack(error, err);
    return error.exit;
  }
}
