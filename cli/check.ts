/** `migrate check <pid> [host:port]` */
import { asMigrationError, type Blocker, ExitCode } from '../shared/errors.js';
import { noteOf } from '../shared/force.js';
import { formatAddress } from '../shared/protocol/address.js';
import { explained, failureReport, formatBlockers } from './failure.js';
import type { CheckRequest } from './requests.js';
import { namedSecret } from './secret.js';
import { plain, type Styles } from './styles.js';
import { type Terminal, tellFailure, tellStack } from './terminal.js';
import { formatCount } from './units.js';

export interface Findings {
  blockers: readonly Blocker[];
  forced: readonly Blocker[];
  notes: readonly string[];
  onlyAttemptTells: readonly string[];
}

export async function checkCommand(request: CheckRequest, terminal: Terminal): Promise<ExitCode> {
  const { pid, target, json } = request;
  const { out, err, outStyles } = terminal;
  const where = target === null ? null : formatAddress(target);
  const printJson = (line: object) => out.write(`${JSON.stringify(line)}\n`);
  try {
    const findings = await look(request);
    if (json) printJson(checkReport(findings, pid));
    else out.write(`${formatFindings(findings, pid, where, outStyles)}\n`);
    return exitOf(findings);
  } catch (thrown) {
    const error = asMigrationError(thrown);
    if (!json) return tellFailure(error, `checking process ${pid}`, terminal);
    printJson(failureReport(error, pid));
    tellStack(error, err);
    return error.exit;
  }
}

async function look({ pid, target, secretFile, ...options }: CheckRequest): Promise<Findings> {
  const secret = target === null ? null : namedSecret(secretFile);
  const { check } = await import('../source-agent/check.js');
  return check({ pid, target, secret, ...options });
}

export function exitOf({ blockers }: Findings): ExitCode {
  return blockers.length === 0 ? ExitCode.success : ExitCode.refused;
}

/** What `check --json` prints. */
export function checkReport(findings: Findings, pid: number): object {
  const { blockers, forced, notes, onlyAttemptTells } = findings;
  return {
    event: 'check',
    movable: blockers.length === 0,
    sourcePid: pid,
    blockers: blockers.map(explained),
    forced: forced.map(explained),
    notes,
    onlyAttemptTells,
  };
}

export function formatFindings(
  { blockers, forced, notes, onlyAttemptTells }: Findings,
  pid: number,
  target: string | null,
  styles: Styles = plain,
): string {
  const move = target === null ? `moving process ${pid}` : `moving process ${pid} to ${target}`;
  const lines =
    blockers.length === 0
      ? [styles.good(`Nothing found in the way of ${move}.`)]
      : [
          styles.bad(`${formatCount(blockers.length, 'thing')} in the way of ${move}:`),
          ...formatBlockers(blockers, styles),
        ];
  lines.push(...[...forced.map(noteOf), ...notes].map((note) => `Note: ${note}`));
  if (target === null)
    lines.push('Name a target as well to compare the two hosts: migrate check PID host:port');
  if (onlyAttemptTells.length > 0) {
    lines.push('Only a real attempt can tell:', ...onlyAttemptTells.map((what) => `  - ${what}`));
  }
  return lines.join('\n');
}
