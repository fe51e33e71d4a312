/** /proc/PID/sched (CONFIG_SCHED_DEBUG): kernel/sched/debug.c proc_sched_show_task(). */
import { malformed } from './malformed.js';

export interface Sched {
  /** When the task last began to run or was accounted, on the scheduler clock of its CPU, in nanoseconds. */
  execStartNs: bigint;
  /** How often it went to sleep so far: context switches that were not preemptions. */
  sleeps: number;
}

export function parseSched(text: string): Sched {
  const milliseconds = /^(\d+)\.(\d{6})$/.exec(field(text, 'se.exec_start'));
  const sleeps = field(text, 'nr_voluntary_switches');
  if (!milliseconds || !/^\d+$/.test(sleeps)) {
    throw malformed('sched', 'se.exec_start or nr_voluntary_switches');
  }
  return {
    // The kernel writes nanoseconds as milliseconds with six digits behind the point.
    execStartNs: BigInt(milliseconds[1]!) * 1_000_000n + BigInt(milliseconds[2]!),
    sleeps: Number(sleeps),
  };
}

/** The last line of that name: the first line holds the task's name, which may contain newlines and look like a field. */
function field(text: string, name: string): string {
  for (let at = text.length; at > 0; ) {
    at = text.lastIndexOf(`\n${name}`, at - 1);
    if (at < 0) break;
    const [line] = text.slice(at + 1 + name.length).split('\n', 1);
    const value = line!.trimStart();
    if (value.startsWith(':')) return value.slice(1).trim();
  }
  throw malformed('sched', `no ${name}`);
}
