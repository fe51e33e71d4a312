/**
 * The benchmark, as `npm run bench`: the machine itself, downtime, work for each byte, all in one run, so that ratios
 * hold. README.md here says how to read it.
 *
 *     node dist/bench/main.js [--runs N] [--quick] [--large] [--out FILE]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bulkTable, measureBulk } from './bulk.js';
import {
  type Downtime,
  downtimeTable,
  gapSlope,
  idle,
  measureDowntime,
  phaseTable,
  spinning,
  writing,
} from './downtime.js';
import { type Machine, measureMachine } from './machine.js';
import { formatGoals, formatTable, type Goal } from './table.js';

const results = fileURLToPath(new URL('../../bench/results/', import.meta.url));
const quickRuns = 3;

interface Options {
  runs: number;
  /** 4 GiB as well. */
  large: boolean;
  out: string;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      runs: { type: 'string' },
      quick: { type: 'boolean', default: false },
      large: { type: 'boolean', default: false },
      out: { type: 'string' },
    },
  });
  const runs = Number(values.runs ?? (values.quick ? quickRuns : 10));
  if (!Number.isInteger(runs) || runs < 1) throw new Error('--runs takes a whole number above 0');
  const name = `${new Date().toISOString().replace(/[:.]/g, '-')}.json`;
  return { runs, large: values.large, out: values.out ?? join(results, name) };
}

async function main(): Promise<void> {
  const { runs, large, out } = readOptions();
  const startedAt = new Date().toISOString();
  console.log('The machine itself\n');
  const machine = measureMachine();
  console.log(`${machineTable(machine)}\n`);

  console.log(`Downtime, medians of ${runs} moves\n`);
  const still: Downtime[] = [];
  for (const megabytes of [64, 256, 1024, ...(large ? [4096] : [])]) {
    still.push(await measureDowntime(idle(megabytes), runs));
  }
  const busy = await measureDowntime(writing(1024, 100, 64), runs);
  const downtimes = [...still, await measureDowntime(spinning(1024), runs), busy];
  console.log(`${downtimeTable(downtimes)}\n\n${phaseTable(downtimes)}\n`);

  console.log(`Work, medians of ${runs} moves\n`);
  const bulk = await measureBulk(1024, runs);
  console.log(`${bulkTable(bulk)}\n`);

  const goals: Goal[] = [
    { what: 'gap, idle, 64 MiB', unit: 'ms', bound: 'most', reach: 6, measured: still[0]!.gapMs.median },
    { what: 'more gap for each GiB', unit: 'ms', bound: 'most', reach: 1.5, measured: gapSlope(still) },
    { what: `gap, ${busy.load.name}`, unit: 'ms', bound: 'most', reach: 25, measured: busy.gapMs.median },
    {
      what: 'both agents together',
      unit: 'GB/core-second',
      bound: 'least',
      reach: 0.45,
      measured: bulk.gigabytesPerCoreSecond,
    },
  ];
  console.log(formatGoals(goals));
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, `${JSON.stringify({ startedAt, runs, machine, downtimes, bulk, goals }, null, 2)}\n`);
  console.log(`\nall figures: ${out}`);
}

function machineTable({ cpu, cpus, kernel, node, speeds }: Machine): string {
  const rows = Object.entries(speeds).map(([name, speed]): [string, number] => [name, speed]);
  return `${cpu}, ${cpus} CPUs, Linux ${kernel}, node ${node}\n\n${formatTable(['', 'GB/s'], rows)}`;
}

await main();
