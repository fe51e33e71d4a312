/** What a person is told when it did not work: what, where, and what to do. */
import {
  type Blocker,
  type CatalogueEntry,
  catalogue,
  type ErrorCode,
  ExitCode,
  type MigrationError,
  type Subject,
} from '../shared/errors.js';
import type { ExplainedBlocker, FailureReport } from '../source-agent/report.js';
import { plain, type Styles } from './styles.js';
import { formatCount } from './units.js';

/** Lines joined by line ends, the last without one. `task` as in "moving process 4711"; null where there is none. */
export function formatFailure(error: MigrationError, task: string | null, styles: Styles = plain): string {
  const during = task === null ? '' : ` while ${task}`;
  if (error.blockers.length > 1) {
    const things = formatCount(error.blockers.length, 'thing');
    return [
      styles.bad(`migrate: ${things} in the way${during}; the process goes on here`),
      ...formatBlockers(error.blockers, styles),
    ].join('\n');
  }
  const where = formatSubject(error.subject, `${error.message} ${task ?? ''}`);
  return [
    styles.bad(`migrate: ${error.message} [${error.code}]`),
    ...(task === null && where === '' ? [] : [`  ${[during.trim(), where].filter(Boolean).join(', ')}`]),
    ...advise(error.code).map((line) => `  ${line}`),
  ].join('\n');
}

/** Reasons of one code stand together, with what to do about them once. */
export function formatBlockers(blockers: readonly Blocker[], styles: Styles = plain): string[] {
  const groups = new Map<ErrorCode, Blocker[]>();
  for (const blocker of blockers) groups.set(blocker.code, [...(groups.get(blocker.code) ?? []), blocker]);
  return [...groups].flatMap(([code, group]) => [
    `  ${styles.bold(code)}`,
    ...group.map((blocker) => {
      const where = formatSubject({ ...(blocker.object && { object: blocker.object }) }, blocker.what);
      return `    - ${blocker.what}${where && ` (${where})`}`;
    }),
    ...advise(code).map((line) => `    ${line}`),
  ]);
}

/** What it would break, what to do, and whether it can be accepted. */
function advise(code: ErrorCode): string[] {
  const { advice, breaks, force } = entryOf(code);
  return [...(breaks ? [breaks] : []), advice, ...(force ? [`Accepted with --force ${code}.`] : [])];
}

/** A reason with what the catalogue says of its code: as `--json` tells it. */
export function explained(blocker: Blocker): ExplainedBlocker {
  const { advice, breaks, force } = entryOf(blocker.code);
  return { ...blocker, advice, breaks: breaks ?? null, forceable: force === true };
}

function entryOf(code: ErrorCode): CatalogueEntry {
  return catalogue[code];
}

/** Parts that `said` does not name already. */
function formatSubject({ phase, pid, tid, object }: Subject, said: string): string {
  const names = (number: number) => new RegExp(`\\b${number}\\b`).test(said);
  const parts: string[] = [];
  if (pid !== undefined && !names(pid)) parts.push(`process ${pid}`);
  if (tid !== undefined && tid !== pid && !names(tid)) parts.push(`thread ${tid}`);
  if (object !== undefined && !said.includes(object)) parts.push(object);
  if (phase !== undefined) parts.push(`step ${phase}`);
  return parts.join(', ');
}

const outcomes: Record<ExitCode, FailureReport['outcome']> = {
  [ExitCode.success]: 'failed',
  [ExitCode.failed]: 'failed',
  [ExitCode.usage]: 'refused',
  [ExitCode.refused]: 'refused',
  [ExitCode.unreachable]: 'failed',
  [ExitCode.aborted]: 'aborted',
  [ExitCode.inDoubt]: 'in-doubt',
};

export function failureReport(error: MigrationError, sourcePid: number): FailureReport {
  return {
    event: 'result',
    outcome: outcomes[error.exit],
    code: error.code,
    what: error.message,
    advice: error.advice,
    sourcePid,
    blockers: error.blockers.map(explained),
  };
}

/** Stacks of an error and its causes: what GODWIT_DEBUG=1 adds. */
export function formatStack(error: unknown): string {
  const lines: string[] = [];
  for (let at: unknown = error; at !== undefined; at = at instanceof Error ? at.cause : undefined) {
    lines.push(at instanceof Error ? (at.stack ?? at.message) : String(at));
  }
  return lines.join('\ncaused by: ');
}
