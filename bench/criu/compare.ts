/** godwit and CRIU in turns, each time with a program that was started for it. */
import { TwoHosts } from '../../test/support/two-hosts.js';
import { moveWriter } from '../move.js';
import { median, quantile } from '../statistics.js';
import { type Cell, formatTable, type Goal } from '../table.js';
import { type Criu, CriuFailure } from './command.js';
import { formatLoad, type Load, writerOptions } from './load.js';
import { moveWithCriu } from './move.js';
import { type Way, type WayName, ways } from './ways.js';

export interface Gaps {
  medianMs: number;
  p90Ms: number;
  samplesMs: number[];
}

export type Outcome = Gaps | { unavailable: string };

export interface Comparison {
  load: Load;
  godwit: Gaps;
  criu: { way: WayName; outcome: Outcome }[];
}

/** Moves a program so loaded `runs` times each way, in turns, after one move each that is not counted. */
export async function compare(
  criu: Criu,
  load: Load,
  chosen: readonly Way[],
  runs: number,
): Promise<Comparison> {
  await using hosts = await TwoHosts.start();
  const options = writerOptions(load);
  const godwit: number[] = [];
  const samples = new Map<Way, number[] | CriuFailure>(chosen.map((way) => [way, []]));
  for (let i = 0; i <= runs; i += 1) {
    const { gapMs } = await moveWriter(hosts, options);
    if (i > 0) godwit.push(gapMs);
    for (const [way, known] of samples) {
      if (known instanceof CriuFailure) continue;
      const moved = await moveWithCriu(criu, way, options).catch(failureOnly);
      if (moved instanceof CriuFailure) samples.set(way, moved);
      else if (i > 0) known.push(moved);
    }
  }
  const outcomes = [...samples].map(([{ name }, known]) => ({
    way: name,
    outcome: known instanceof CriuFailure ? { unavailable: known.message } : gapsOf(known),
  }));
  return { load, godwit: gapsOf(godwit), criu: outcomes };
}

function failureOnly(error: unknown): CriuFailure {
  if (error instanceof CriuFailure) return error;
  throw error;
}

function gapsOf(samplesMs: number[]): Gaps {
  return { medianMs: median(samplesMs), p90Ms: quantile(samplesMs, 0.9), samplesMs };
}

/** How many times longer the gap is with CRIU: by medians; null where it could not move the program. */
export function ratioOf({ godwit, criu }: Comparison, way: WayName): number | null {
  const outcome = criu.find((entry) => entry.way === way)?.outcome;
  return outcome === undefined || 'unavailable' in outcome ? null : outcome.medianMs / godwit.medianMs;
}

/** A block for each program: CRIU's ways against godwit, the ratio first. */
export function comparisonTable(comparison: Comparison): string {
  const { load, godwit, criu } = comparison;
  const rows = criu.map(({ way, outcome }): Cell[] => {
    const title = ways.find(({ name }) => name === way)!.title;
    const ratio = ratioOf(comparison, way);
    if ('unavailable' in outcome || ratio === null) return [title, 'n/a', '', ''];
    return [title, `${ratio.toFixed(0)} x`, outcome.medianMs, outcome.p90Ms];
  });
  const headers = [formatLoad(load), 'of godwit', 'gap, ms', 'p90'];
  return formatTable(headers, [...rows, ['godwit', '', godwit.medianMs, godwit.p90Ms]]);
}

/** Why CRIU could not do what is n/a in the table. */
export function reasons({ criu }: Comparison): string[] {
  return criu.flatMap(({ way, outcome }) =>
    'unavailable' in outcome ? [`n/a, ${way}: ${outcome.unavailable}`] : [],
  );
}

/** What the comparison has to show, of what was measured. */
export function goalsOf(comparisons: readonly Comparison[]): Goal[] {
  return comparisons.flatMap((comparison) =>
    [
      { way: 'page-server' as const, applies: comparison.load.megabytes >= 1024, reach: 200 },
      { way: 'pre-dump' as const, applies: true, reach: 20 },
    ].flatMap(({ way, applies, reach }) => {
      const measured = ratioOf(comparison, way);
      if (!applies || measured === null) return [];
      const what = `CRIU's gap (${way}) of godwit's, ${formatLoad(comparison.load)}`;
      return [{ what, unit: 'times', bound: 'least', reach, measured }];
    }),
  );
}
