/** The report at the end of a migration, for people; `--json` prints the Report itself. */
import type { Report } from '../source-agent/report.js';
import { formatTracker } from './progress.js';
import { plain, type Styles } from './styles.js';
import { formatBytes, formatCount, formatMs } from './units.js';

/** Lines joined by line ends, the last without one. `target` as the person wrote it. */
export function formatReport(report: Report, target: string, styles: Styles = plain): string {
  const { bytes } = report;
  const rows: [string, string][] = [
    ['pid', `${report.sourcePid} here, ${report.targetPid} there, ${report.innerPid} to itself`],
    ['total', `${formatMs(report.totalMs)}, ${formatCount(report.rounds, 'round')}`],
    ['frozen', formatMs(report.frozenMs)],
    ...Object.entries(report.phases).map(([name, ms]): [string, string] => [`  ${name}`, formatMs(ms)]),
    ['memory', formatBytes(bytes.memory)],
    ['  on the wire', formatBytes(bytes.wire)],
    ['  zero pages', formatBytes(bytes.zero)],
    ['  last round', formatBytes(bytes.lastRound)],
    ['tracker', formatTracker({ tracker: report.tracker, why: report.trackerWhy })],
    ['output', report.log === null ? 'no stream leads out' : `${report.log} on the target`],
    ...report.notes.map((note): [string, string] => ['note', note]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  const headline = `Moved: process ${report.sourcePid} runs on ${target} as ${report.targetPid}, frozen for ${formatMs(report.frozenMs)}.`;
  return [
    styles.bold(styles.good(headline)),
    ...rows.map(([name, value]) => `  ${styles.dim(name.padEnd(width))}  ${value}`),
  ].join('\n');
}
