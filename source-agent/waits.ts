/**
 * How long sleeping threads have slept. The kernel does not tell when a relative wait ends, but the scheduler notes
 * when a thread went to sleep (se.exec_start of /proc/PID/task/TID/sched, on the clock of its CPU). Read just before
 * the thread is stopped, it gives the time that remains; a deadline once known is kept while the wait is restarted.
 */
import { native } from '../native/index.js';
import { inRestartBlock } from '../shared/injection/restart.js';
import { currentSyscall, get, getSigned, type Registers } from '../shared/injection/x86-64/registers.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import { parseSched } from '../shared/proc/sched.js';

/** What was seen of one thread while it still slept. */
export interface SleepObservation {
  sleptNs: bigint;
  /** The kernel function it slept in, for example hrtimer_nanosleep. */
  sleepsIn: string;
}

export type Observations = ReadonlyMap<number, SleepObservation>;

const nothing: SleepObservation = { sleptNs: 0n, sleepsIn: '' };

/** Looks at all threads; those that run are left out. `cpuOf` tells each thread's last CPU. */
export function observeSleepers(
  pid: number,
  tids: readonly number[],
  cpuOf: (tid: number) => number,
): Observations {
  const files = native.readFiles(
    tids.flatMap((tid) => [`/proc/${pid}/task/${tid}/wchan`, `/proc/${pid}/task/${tid}/sched`]),
  );
  const observations = new Map<number, SleepObservation>();
  const clocks = new Map<number, bigint>();
  tids.forEach((tid, i) => {
    const [wchan, sched] = [files[i * 2]!, files[i * 2 + 1]!];
    if (typeof wchan === 'number' || typeof sched === 'number') return;
    const sleepsIn = wchan.toString();
    if (!timedWaits.test(sleepsIn)) return;
    const cpu = cpuOf(tid);
    let clock = clocks.get(cpu);
    if (clock === undefined) {
      clock = native.schedulerClock(cpu);
      clocks.set(cpu, clock);
    }
    const sleptNs = clock - parseSched(sched.toString()).execStartNs;
    observations.set(tid, { sleptNs: sleptNs > 0n ? sleptNs : 0n, sleepsIn });
  });
  return observations;
}

/** Kernel functions in which threads wait with a time limit that a restart must know. */
const timedWaits = /nanosleep|poll|futex/;

interface KnownDeadline {
  /** Registers that tell this wait from another one of the thread. */
  signature: string;
  /** CLOCK_MONOTONIC of this host, nanoseconds. */
  deadlineNs: bigint;
}

/** Deadlines of relative waits, kept from stop to stop. */
export class WaitClock {
  readonly #known = new Map<number, KnownDeadline>();

  /**
   * Nanoseconds that remain of the relative wait in a restart block; null for every other thread and for waits
   * without an end. `readTimespec` reads a struct timespec of the process in nanoseconds.
   */
  remaining(
    tid: number,
    registers: Registers,
    observation: SleepObservation | undefined,
    readTimespec: (address: bigint) => bigint,
  ): bigint | null {
    if (!inRestartBlock(registers)) {
      this.#known.delete(tid);
      return null;
    }
    const left = remainderGiven(registers, observation?.sleepsIn ?? '');
    // Interrupting a sleep makes the kernel write what is left of it where the program asked for that.
    if (left !== null) return readTimespec(left);
    const now = process.hrtime.bigint();
    const restarted = currentSyscall(registers) === syscalls.restartSyscall;
    const signature = signatureOf(registers);
    const known = this.#known.get(tid);
    let deadlineNs = restarted && known?.signature === signature ? known.deadlineNs : undefined;
    if (deadlineNs === undefined) {
      const { sleptNs, sleepsIn } = observation ?? nothing;
      const requested = requestedNs(registers, sleepsIn, readTimespec);
      if (requested === null) return null;
      deadlineNs = now - sleptNs + requested;
    }
    this.#known.set(tid, { signature, deadlineNs });
    return deadlineNs > now ? deadlineNs - now : 0n;
  }
}

/** The address to which a sleep writes its remainder; null where the program did not ask for it. */
function remainderGiven(registers: Registers, sleepsIn: string): bigint | null {
  const number = interruptedCall(registers, sleepsIn);
  const pointer = number === syscalls.nanosleep ? 'rsi' : number === syscalls.clockNanosleep ? 'r10' : null;
  return pointer === null || get(registers, pointer) === 0n ? null : get(registers, pointer);
}

function signatureOf(registers: Registers): string {
  return (['rip', 'rsp', 'rdi', 'rsi', 'rdx', 'r10'] as const)
    .map((name) => get(registers, name).toString(16))
    .join();
}

/** What the program asked for, or null where the wait has no end or an absolute one. */
function requestedNs(
  registers: Registers,
  sleepsIn: string,
  readTimespec: (address: bigint) => bigint,
): bigint | null {
  switch (interruptedCall(registers, sleepsIn)) {
    case syscalls.nanosleep:
      return readTimespec(get(registers, 'rdi'));
    case syscalls.clockNanosleep:
      return readTimespec(get(registers, 'rdx'));
    case syscalls.poll: {
      const timeout = BigInt.asIntN(32, get(registers, 'rdx'));
      return timeout < 0n ? null : timeout * 1000000n;
    }
    case syscalls.futex:
      // FUTEX_WAIT counts from now; FUTEX_WAIT_BITSET and the rest name a point in time, which stays right.
      return (get(registers, 'rsi') & 0x7fn) === 0n && get(registers, 'r10') !== 0n
        ? readTimespec(get(registers, 'r10'))
        : null;
    default:
      return null;
  }
}

/** The call behind a restart block: once it was restarted the number says only restart_syscall. */
export function interruptedCall(registers: Registers, sleepsIn: string): number {
  const number = currentSyscall(registers)!;
  if (number !== syscalls.restartSyscall) return number;
  if (sleepsIn.includes('poll')) return syscalls.poll;
  if (sleepsIn.includes('futex')) return syscalls.futex;
  // clock_nanosleep's first argument is a clock id, nanosleep's an address.
  return getSigned(registers, 'rdi') < 4096n ? syscalls.clockNanosleep : syscalls.nanosleep;
}
