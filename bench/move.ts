/** One move of the writer, as the benchmark sees it: the program's own gaps, the report, the CPU time. */
import type { Report } from '../source-agent/report.js';
import { ProgramRun } from '../test/support/programs.js';
import { command, type TwoHosts } from '../test/support/two-hosts.js';
import { cpuSecondsBeside } from './cpu-time.js';

export interface Sample {
  /** The longest time in which the program did not run, from the start of the move to its report after it. */
  gapMs: number;
  /** Gaps above 0.2 ms in that time. */
  gaps: number;
  report: Report;
  /** User and system time of all threads, seconds. */
  cpuSeconds: { source: number; target: number };
}

/** bash's `time` tells user and system time of what it ran (getrusage(2), children). */
const timed = ['bash', '-c', 'TIMEFORMAT="cpu-seconds %3U %3S"; time "$@"', 'bash'];

/** Now, by the clock that a writer with these options measures its gaps by: nanoseconds. */
export function writerClockNs(options: readonly string[]): bigint {
  return options.includes('--wall') ? BigInt(Date.now()) * 1_000_000n : process.hrtime.bigint();
}

/** Starts the writer, moves it, asks it for its gaps and ends it. Throws Error where the move fails. */
export async function moveWriter(hosts: TwoHosts, options: readonly string[]): Promise<Sample> {
  using run = await ProgramRun.start('writer', { options: [...options] });
  const init = hosts.target.find(1)!.pid;
  const before = cpuSecondsBeside(init);
  const startedNs = writerClockNs(options);
  const { code, result, output } = await hosts.run([
    ...timed,
    ...command,
    String(run.pid),
    hosts.target.address,
  ]);
  if (code !== 0 || result.outcome !== 'moved') {
    throw new Error(`the writer was not moved: ${output}\n${hosts.targetLog}`);
  }
  try {
    const moved = hosts.target.find(result.innerPid);
    const target = [...cpuSecondsBeside(init)]
      .filter(([pid]) => pid !== moved?.pid)
      .reduce((sum, [pid, seconds]) => sum + seconds - (before.get(pid) ?? 0), 0);
    const gaps = gapsSince(startedNs, await run.ask());
    return {
      gapMs: Math.max(0, ...gaps),
      gaps: gaps.length,
      report: result,
      cpuSeconds: { source: timeOf(output), target },
    };
  } finally {
    hosts.killOnTarget(result.innerPid);
    await untilGone(hosts, result.innerPid);
  }
}

/** Milliseconds of the gaps that ended after a moment of the writer's clock, from the lines of the writer's report. */
export function gapsSince(startedNs: bigint, lines: readonly string[]): number[] {
  return lines.flatMap((line) => {
    const match = /^GAP (\d+) at (\d+)$/.exec(line);
    return match && BigInt(match[2]!) >= startedNs ? [Number(match[1]) / 1e6] : [];
  });
}

function timeOf(output: string): number {
  const match = /^cpu-seconds (\d+\.\d+) (\d+\.\d+)$/m.exec(output);
  if (!match) throw new Error(`bash did not tell the time: ${output}`);
  return Number(match[1]) + Number(match[2]);
}

/** Freeing its memory is work that must not fall into the next sample. */
async function untilGone(hosts: TwoHosts, innerPid: number): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (hosts.target.find(innerPid) !== null) {
    if (Date.now() > deadline) throw new Error(`process ${innerPid} did not end on the target`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
