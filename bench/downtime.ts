/** Downtime as the program sees it, by how much memory it has and how fast it writes. */
import { TwoHosts } from '../test/support/two-hosts.js';
import { moveWriter, type Sample } from './move.js';
import { median, medians, quantile, slope } from './statistics.js';
import { type Cell, formatTable } from './table.js';

export interface Load {
  name: string;
  megabytes: number;
  /** Options of the writer beside its memory. */
  options: readonly string[];
}

export interface Downtime {
  load: Load;
  gapMs: { median: number; p90: number; worst: number };
  frozenMs: number;
  totalMs: number;
  wireBytes: number;
  lastRoundBytes: number;
  rounds: number;
  /** Medians, each by itself: they need not add up. */
  phases: Record<string, number>;
  samples: Sample[];
}

/** Asleep but for a look at the clock each 0.1 ms: so often it can see how long it did not run. */
export function idle(megabytes: number): Load {
  return { name: `idle, ${sizeOf(megabytes)}`, megabytes, options: ['--sleep', '--spin', '100'] };
}

/** Never asleep: with both agents beside it on two CPUs it also waits for its turn. */
export function spinning(megabytes: number): Load {
  return { name: `spinning, ${sizeOf(megabytes)}`, megabytes, options: [] };
}

export function writing(megabytes: number, rate: number, window: number): Load {
  return {
    name: `${rate} MB/s over ${sizeOf(window)}, ${sizeOf(megabytes)}`,
    megabytes,
    options: ['--rate', String(rate), '--window', String(window)],
  };
}

/** Moves a program so loaded `runs` times, after one move that is not counted. The target agent stays the same. */
export async function measureDowntime(load: Load, runs: number): Promise<Downtime> {
  await using hosts = await TwoHosts.start();
  const samples: Sample[] = [];
  for (let i = 0; i <= runs; i += 1) {
    const sample = await moveWriter(hosts, ['--mb', String(load.megabytes), ...load.options]);
    if (i > 0) samples.push(sample);
  }
  const gaps = samples.map(({ gapMs }) => gapMs);
  const reports = samples.map(({ report }) => report);
  return {
    load,
    gapMs: { median: median(gaps), p90: quantile(gaps, 0.9), worst: Math.max(...gaps) },
    frozenMs: median(reports.map(({ frozenMs }) => frozenMs)),
    totalMs: median(reports.map(({ totalMs }) => totalMs)),
    wireBytes: median(reports.map(({ bytes }) => bytes.wire)),
    lastRoundBytes: median(reports.map(({ bytes }) => bytes.lastRound)),
    rounds: median(reports.map(({ rounds }) => rounds)),
    phases: medians(reports.map(({ phases }) => phases)),
    samples,
  };
}

/** Milliseconds that each GiB of memory adds to the median gap. */
export function gapSlope(results: readonly Downtime[]): number {
  return slope(results.map(({ load, gapMs }) => ({ x: load.megabytes / 1024, y: gapMs.median })));
}

export function downtimeTable(results: readonly Downtime[]): string {
  const headers = ['ms', 'gap', 'p90', 'worst', 'frozen', 'total', 'rounds', 'wire MB', 'last round kB'];
  return formatTable(
    headers,
    results.map(({ load, gapMs, frozenMs, totalMs, rounds, wireBytes, lastRoundBytes }) => [
      load.name,
      gapMs.median,
      gapMs.p90,
      gapMs.worst,
      frozenMs,
      totalMs,
      rounds.toFixed(0),
      wireBytes / 1e6,
      lastRoundBytes / 1e3,
    ]),
  );
}

/** A row for each phase of the freeze, a column for each load. */
export function phaseTable(results: readonly Downtime[]): string {
  const names = [...new Set(results.flatMap(({ phases }) => Object.keys(phases)))];
  const rows = names.map((name): Cell[] => [name, ...results.map(({ phases }) => phases[name] ?? 0)]);
  return formatTable(['phase, ms', ...results.map(({ load }) => load.name)], rows);
}

function sizeOf(megabytes: number): string {
  return megabytes >= 1024 ? `${megabytes / 1024} GiB` : `${megabytes} MiB`;
}
