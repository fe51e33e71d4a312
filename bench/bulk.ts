/** Work for each byte moved: incompressible memory by the CPU time of both agents together. */
import { TwoHosts } from '../test/support/two-hosts.js';
import { moveWriter, type Sample } from './move.js';
import { median } from './statistics.js';
import { formatTable } from './table.js';

export interface Bulk {
  megabytes: number;
  /** GB of pages for each second of CPU time of the `migrate` command and the target's agent, spawner and shepherd. */
  gigabytesPerCoreSecond: number;
  sourceSeconds: number;
  targetSeconds: number;
  memoryBytes: number;
  totalMs: number;
  samples: Sample[];
}

/** The program sleeps nearly all the time: what it does itself would only compete for the caches. */
const asleep = ['--sleep', '--spin', '20000'];

/** Moves a sleeping program of that size `runs` times, after one move that is not counted. */
export async function measureBulk(megabytes: number, runs: number): Promise<Bulk> {
  await using hosts = await TwoHosts.start();
  const samples: Sample[] = [];
  for (let i = 0; i <= runs; i += 1) {
    const sample = await moveWriter(hosts, ['--mb', String(megabytes), ...asleep]);
    if (i > 0) samples.push(sample);
  }
  const rate = ({ report, cpuSeconds }: Sample) =>
    report.bytes.memory / 1e9 / (cpuSeconds.source + cpuSeconds.target);
  return {
    megabytes,
    gigabytesPerCoreSecond: median(samples.map(rate)),
    sourceSeconds: median(samples.map(({ cpuSeconds }) => cpuSeconds.source)),
    targetSeconds: median(samples.map(({ cpuSeconds }) => cpuSeconds.target)),
    memoryBytes: median(samples.map(({ report }) => report.bytes.memory)),
    totalMs: median(samples.map(({ report }) => report.totalMs)),
    samples,
  };
}

export function bulkTable(bulk: Bulk): string {
  return formatTable(
    ['', 'GB/core-second', 'source s', 'target s', 'sent MB', 'total ms'],
    [
      [
        `${bulk.megabytes} MiB`,
        bulk.gigabytesPerCoreSecond,
        bulk.sourceSeconds,
        bulk.targetSeconds,
        bulk.memoryBytes / 1e6,
        bulk.totalMs,
      ],
    ],
  );
}
