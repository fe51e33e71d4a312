/**
 * What the rounds cost a program while it works: the speed of one that writes at random, alone and during rounds, in
 * turns. It has a CPU for itself; both agents share the other.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { eachLine } from '../cli/demo/lines.js';
import type { FailureReport, MigrationEvent } from '../source-agent/report.js';
import { ProgramRun } from '../test/support/programs.js';
import { command, TwoHosts } from '../test/support/two-hosts.js';
import { Compiled } from './compiled.js';
import { Pinned } from './pinned.js';
import { median } from './statistics.js';
import { formatTable } from './table.js';

const megabytes = 64;
const [programCpu, agentsCpu] = [0, 1];
const aloneMs = 1500;

export interface Slowdown {
  megabytes: number;
  /** Millions of words written a second: medians. */
  alone: number;
  duringRounds: number;
  /** Medians over the turns, each of which compares rounds with the time alone before and after them. */
  percent: number;
  /** The same by the program's CPU time: far from the former where others took its CPU away. */
  percentOfCpuTime: number;
  rounds: number;
  roundsMs: number;
  samples: Sample[];
}

interface Sample {
  before: Speed;
  rounds: Speed & { rounds: number };
  after: Speed;
}

interface Speed {
  perSecond: number;
  perCpuSecond: number;
  ms: number;
}

/**
 * `runs` turns after one that is not counted. A turn is a migration that never gets to its freeze, because the rounds
 * do not shrink and it was told to give up then. Throws Error where there is only one CPU.
 */
export async function measureSlowdown(runs: number): Promise<Slowdown> {
  if (availableParallelism() < 2)
    throw new Error('the slow-down needs a CPU for the agents beside that of the program');
  using _pinned = new Pinned(agentsCpu);
  using compiled = new Compiled('random-writer');
  await using hosts = await TwoHosts.start();
  const onItsCpu = ['taskset', '--cpu-list', String(programCpu), compiled.program];
  using run = await ProgramRun.command('random-writer', (status) => [...onItsCpu, status, String(megabytes)]);
  using counter = new Counter(run);
  const samples: Sample[] = [];
  let before = await speedAlone(counter);
  for (let i = 0; i <= runs; i += 1) {
    const rounds = await speedDuringRounds(counter, hosts, run.pid);
    const after = await speedAlone(counter);
    if (i > 0) samples.push({ before, rounds, after });
    before = after;
  }
  return {
    megabytes,
    alone: median(samples.flatMap(({ before, after }) => [before.perSecond, after.perSecond])) / 1e6,
    duringRounds: median(samples.map(({ rounds }) => rounds.perSecond)) / 1e6,
    percent: median(samples.map((sample) => percentOf(sample, 'perSecond'))),
    percentOfCpuTime: median(samples.map((sample) => percentOf(sample, 'perCpuSecond'))),
    rounds: median(samples.map(({ rounds }) => rounds.rounds)),
    roundsMs: median(samples.map(({ rounds }) => rounds.ms)),
    samples,
  };
}

function percentOf({ before, rounds, after }: Sample, by: 'perSecond' | 'perCpuSecond'): number {
  return (1 - rounds[by] / ((before[by] + after[by]) / 2)) * 100;
}

async function speedAlone(counter: Counter): Promise<Speed> {
  const since = counter.now();
  await sleep(aloneMs);
  return speedOf(since, counter.now());
}

/** From the end of the first round, which sends everything, to the end of the last. */
async function speedDuringRounds(counter: Counter, hosts: TwoHosts, pid: number): Promise<Sample['rounds']> {
  const [program, ...args] = [
    ...command,
    String(pid),
    hosts.target.address,
    '--secret-file',
    hosts.secretFile,
  ];
  const options = ['--json', '--max-downtime', '1', '--on-stall', 'cancel'];
  const child = spawn(program!, [...args, ...options], { stdio: ['ignore', 'pipe', 'inherit'] });
  const counts: Count[] = [];
  let result: FailureReport | undefined;
  eachLine(child.stdout, (line) => {
    const event = JSON.parse(line) as MigrationEvent | FailureReport;
    if (event.event === 'round') counts.push(counter.now());
    if (event.event === 'result') result = event as FailureReport;
  });
  await once(child, 'close');
  const [first, last] = [counts[0], counts.at(-1)];
  if (result?.code !== 'downtime-exceeded' || first === undefined || last === undefined || first === last) {
    throw new Error(`the rounds ended in an unexpected way: ${JSON.stringify(result)}`);
  }
  return { ...speedOf(first, last), rounds: counts.length - 1 };
}

interface Count {
  words: bigint;
  atMs: number;
  cpuNs: bigint;
}

function speedOf(since: Count, until: Count): Speed {
  const ms = until.atMs - since.atMs;
  const words = Number(until.words - since.words);
  return {
    perSecond: (words / ms) * 1000,
    perCpuSecond: (words / Number(until.cpuNs - since.cpuNs)) * 1e9,
    ms,
  };
}

/** The program's own count, read from its memory: asking would cost it time. */
class Counter implements Disposable {
  readonly #memory: number;
  readonly #address: number;
  readonly #word = Buffer.alloc(8);

  constructor(private readonly run: ProgramRun) {
    const [, address] = run.lines().map((line) => /^COUNTER ([0-9a-f]+)$/.exec(line))[0] ?? [];
    if (address === undefined) throw new Error(`the program named no counter: ${run.lines().join(', ')}`);
    this.#address = Number.parseInt(address, 16);
    this.#memory = openSync(`/proc/${run.pid}/mem`, 'r');
  }

  now(): Count {
    readSync(this.#memory, this.#word, 0, 8, this.#address);
    // Nanoseconds on a CPU come first (Documentation/scheduler/sched-stats.rst).
    const [cpuNs] = readFileSync(`/proc/${this.run.pid}/schedstat`, 'utf8').split(' ');
    return { words: this.#word.readBigUInt64LE(), atMs: performance.now(), cpuNs: BigInt(cpuNs!) };
  }

  [Symbol.dispose](): void {
    closeSync(this.#memory);
  }
}

export function slowdownTable(slowdown: Slowdown): string {
  const { megabytes, alone, duringRounds, percent, percentOfCpuTime, rounds, roundsMs } = slowdown;
  const headers = [
    'random writer',
    'M words/s alone',
    'during rounds',
    'less, %',
    'by CPU time',
    'rounds',
    'in ms',
  ];
  const figures = [alone, duringRounds, percent, percentOfCpuTime, rounds.toFixed(0), roundsMs.toFixed(0)];
  return formatTable(headers, [[`${megabytes} MiB`, ...figures]]);
}
