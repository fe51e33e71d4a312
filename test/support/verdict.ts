/**
 * Whether a test file passed. uvu says success for a hook that throws, a thrown string, a forgotten run(), a skipped
 * test: so its exit code counts for nothing unless its own summary says that every test ran and passed.
 */
import { announcedSkips, permittedSkips, type Skip } from './skips.js';

/** What the run of one test file left behind. */
export interface Evidence {
  /** stdout and stderr together. */
  output: string;
  code: number | null;
  signal: string | null;
  /** The limit that ran out, in seconds; null when the file ended by itself. */
  timedOutAfter: number | null;
  /** Processes that outlived the file, for example "sleep (pid 17)". */
  leftovers: readonly string[];
}

export interface Verdict {
  /** Tests. A file that failed as a whole counts for at least one failed test. */
  passed: number;
  failed: number;
  skips: Skip[];
  /** Why the file failed; empty when it passed. */
  problems: string[];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character begins each colour
const colours = /\u001b\[[0-9;]*m/g;
const summary = /^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)$/gm;

export function judge(evidence: Evidence): Verdict {
  const output = evidence.output.replace(colours, '').replaceAll('\r\n', '\n');
  const skips = announcedSkips(output);
  const problems: string[] = [];

  if (evidence.timedOutAfter !== null) problems.push(`ran longer than ${evidence.timedOutAfter} s`);
  else if (evidence.signal !== null) problems.push(`ended by ${evidence.signal}`);
  else if (evidence.code !== 0) problems.push(`exit code ${evidence.code}`);
  if (evidence.leftovers.length > 0) problems.push(`left running: ${evidence.leftovers.join(', ')}`);
  for (const { name } of skips)
    if (!Object.hasOwn(permittedSkips, name)) problems.push(`skip "${name}" is not on the list`);

  const summaries = [...output.matchAll(summary)];
  const [total, passed, unnamed] = (summaries[0]?.slice(1) ?? ['0', '0', '0']).map(Number) as [
    number,
    number,
    number,
  ];
  if (summaries.length !== 1) problems.push(summaries.length === 0 ? 'no summary' : 'more than one summary');
  else if (total === 0 && skips.length === 0) problems.push('no tests');
  if (passed !== total) problems.push(`${total - passed} of ${total} tests did not pass`);
  if (unnamed > 0) problems.push(`${unnamed} tests skipped without a name`);

  const failed = problems.length === 0 ? 0 : Math.max(1, total - passed);
  return { passed, failed, skips, problems };
}
