/** /proc/PID/stat: fs/proc/array.c do_task_stat(), proc_pid_stat(5). */
import { malformed } from './malformed.js';

/** PF_* of include/linux/sched.h, as `flags` shows them. */
export const TaskFlag = {
  exiting: 0x4,
  forkedWithoutExec: 0x40,
  dumpedCore: 0x200,
  signaled: 0x400,
  frozen: 0x10000,
  kernelThread: 0x200000,
} as const;

/** Addresses are 0 (code: 1 or 0) where the reader may not trace the task, and for tasks without memory. */
export interface Stat {
  pid: number;
  /** As the task set it: parentheses, blanks and newlines included. */
  comm: string;
  state: string;
  ppid: number;
  pgrp: number;
  session: number;
  /** Device number of the controlling terminal; 0 without one. */
  ttyNr: number;
  /** Foreground process group of that terminal; -1 without one. */
  tpgid: number;
  /** See TaskFlag. */
  flags: number;
  priority: number;
  nice: number;
  threads: number;
  /** Clock ticks (100 a second) since boot, in the reader's time namespace. */
  startTime: bigint;
  vsizeBytes: bigint;
  startCode: bigint;
  endCode: bigint;
  startStack: bigint;
  /** The signal sent to the parent at the end. */
  exitSignal: number;
  processor: number;
  rtPriority: number;
  /** SCHED_* */
  policy: number;
  startData: bigint;
  endData: bigint;
  startBrk: bigint;
  argStart: bigint;
  argEnd: bigint;
  envStart: bigint;
  envEnd: bigint;
  /** As waitpid(2) would give it. */
  exitCode: number;
}

export function parseStat(text: string): Stat {
  const open = text.indexOf('(');
  // The name may hold parentheses; nothing behind it does.
  const close = text.lastIndexOf(')');
  if (open < 0 || close < open) throw malformed('stat', 'no name in parentheses');
  // Fields count from 1 in proc_pid_stat(5); the state, first behind the name, is the third.
  const values = text
    .slice(close + 1)
    .trim()
    .split(' ');
  // Field 52 (exit_code) is there since Linux 3.5; later kernels may append.
  if (values.length < 50) throw malformed('stat', `only ${values.length + 2} fields`);

  const number = (field: number): number => {
    const value = Number(values[field - 3]);
    if (!Number.isInteger(value) || values[field - 3] === '') throw malformed('stat', `field ${field}`);
    return value;
  };
  const bigint = (field: number): bigint => {
    const digits = values[field - 3]!;
    if (!/^\d+$/.test(digits)) throw malformed('stat', `field ${field} "${digits}"`);
    return BigInt(digits);
  };
  const pid = Number(text.slice(0, open).trim());
  if (!Number.isInteger(pid) || pid <= 0) throw malformed('stat', 'no pid');
  return {
    pid,
    comm: text.slice(open + 1, close),
    state: values[0]!,
    ppid: number(4),
    pgrp: number(5),
    session: number(6),
    ttyNr: number(7),
    tpgid: number(8),
    flags: number(9),
    priority: number(18),
    nice: number(19),
    threads: number(20),
    startTime: bigint(22),
    vsizeBytes: bigint(23),
    startCode: bigint(26),
    endCode: bigint(27),
    startStack: bigint(28),
    exitSignal: number(38),
    processor: number(39),
    rtPriority: number(40),
    policy: number(41),
    startData: bigint(45),
    endData: bigint(46),
    startBrk: bigint(47),
    argStart: bigint(48),
    argEnd: bigint(49),
    envStart: bigint(50),
    envEnd: bigint(51),
    exitCode: number(52),
  };
}
