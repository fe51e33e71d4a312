/** /proc/PID/timers, the POSIX timers of a process: fs/proc/base.c show_timer(), proc_pid_timers(5). */
import { malformed } from './malformed.js';

export interface PosixTimer {
  id: number;
  /** 0 where nothing is to be sent. */
  signal: number;
  /** sigev_value: an integer or a pointer of the program. */
  value: bigint;
  notify: 'signal' | 'none' | 'thread';
  /** SIGEV_THREAD_ID: `target` is a thread, not a process. */
  toThread: boolean;
  /** Pid or tid in the reader's pid namespace. */
  target: number;
  /** CLOCK_*; negative for clocks of a process, a thread or a descriptor (clock_getcpuclockid(3)). */
  clock: number;
}

/** Four lines for each, newest first. */
const shape = [
  /^ID: (\d+)$/,
  /^signal: (\d+)\/([0-9a-f]+)$/,
  /^notify: (signal|none|thread)\/(tid|pid)\.(\d+)$/,
  /^ClockID: (-?\d+)$/,
] as const;

export function parseTimers(text: string): PosixTimer[] {
  const lines = text.split('\n').filter((line) => line !== '');
  const timers: PosixTimer[] = [];
  for (let at = 0; at < lines.length; at += shape.length) {
    const parts = shape.flatMap((pattern, i) => {
      const match = pattern.exec(lines[at + i] ?? '');
      if (!match) throw malformed('timers', `"${lines[at + i] ?? ''}"`);
      return match.slice(1);
    });
    const [id, signal, value, notify, kind, target, clock] = parts;
    timers.push({
      id: Number(id),
      signal: Number(signal),
      value: BigInt(`0x${value}`),
      notify: notify as PosixTimer['notify'],
      toThread: kind === 'tid',
      target: Number(target),
      clock: Number(clock),
    });
  }
  return timers;
}
