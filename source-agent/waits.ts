/**
 * How long sleeping threads have slept. The kernel does not tell when a relative wait ends, but the scheduler notes
 * when a thread went to sleep (se.exec_start of /proc/PID/task/TID/sched, on the clock of its CPU). Read just before
 * the thread is stopped, it gives the time that remains; a deadline once known is kept while the wait is restarted.
 *
 * (/proc/timer_list tells the exact end of every timer of the host, but no longer whose it is.)
 */
import { native } from '../native/index.js';
import { deadlineHolder, inRestartBlock, isInterrupted } from '../shared/injection/restart.js';
import {
  type ReadMemory,
  readTimeout,
  type TimeoutPlace,
  timeoutPlace,
} from '../shared/injection/timeouts.js';
import {
  currentSyscall,
  get,
  getSigned,
  type Registers,
  withRegisters,
} from '../shared/injection/x86-64/registers.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import { parseSched } from '../shared/proc/sched.js';

/** What was seen of one thread while it still slept. */
export interface SleepObservation {
  /** Never more than it did. */
  sleptNs: bigint;
  /** The kernel function it slept in, for example hrtimer_nanosleep. */
  sleepsIn: string;
  /** How often it had gone to sleep by then. */
  sleeps: number;
  /** When that was: CLOCK_MONOTONIC of this host, nanoseconds. */
  atNs: bigint;
}

export type Observations = ReadonlyMap<number, SleepObservation>;

/** Nothing is mapped below: vm.mmap_min_addr. */
const lowestAddress = 4096n;
const syscallBytes = 2n;
const restartBlockMark = -516n; // ERESTART_RESTARTBLOCK

const nothing: SleepObservation = { sleptNs: 0n, sleepsIn: '', sleeps: 0, atNs: 0n };

/** The scheduler's clock follows the processor's; that of time-outs is corrected by at most 500 in a million. */
const clockDrift = 2000n;

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
  const atNs = process.hrtime.bigint();
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
    const { execStartNs, sleeps } = parseSched(sched.toString());
    const sleptNs = clock > execStartNs ? clock - execStartNs : 0n;
    observations.set(tid, { sleptNs: sleptNs - sleptNs / clockDrift, sleepsIn, sleeps, atNs });
  });
  return observations;
}

/** Kernel functions in which threads wait with a time limit that a restart must know. */
const timedWaits = /nanosleep|poll|futex|sigtimedwait|semtimedop|read_events/;

/**
 * The observations that still hold now that the threads have stopped. A thread that woke between the look and the stop
 * may sleep anew, and would be taken for one that has slept long: it has gone to sleep once more than to be stopped.
 */
export function stillAsleep(pid: number, stopped: readonly number[], seen: Observations): Observations {
  const tids = stopped.filter((tid) => seen.has(tid));
  const files = native.readFiles(tids.map((tid) => `/proc/${pid}/task/${tid}/sched`));
  const observations = new Map(seen);
  tids.forEach((tid, i) => {
    const [sched, before] = [files[i]!, seen.get(tid)!];
    const sleeps = typeof sched === 'number' ? Number.POSITIVE_INFINITY : parseSched(sched.toString()).sleeps;
    if (sleeps > before.sleeps + 1) observations.set(tid, { ...before, sleptNs: 0n });
  });
  return observations;
}

/** True when it matters how long the thread has slept. `asStopped`: the registers as ptrace tells them. */
export function mustBeTimed(asStopped: Registers): boolean {
  return isInterrupted(asStopped) && deadlineHolder(asStopped) !== 'program';
}

/** What remains of a relative wait, and where its call is told. */
export interface Remaining {
  place: TimeoutPlace;
  ns: bigint;
}

/** A wait that the kernel holds in a restart block, as it was at an earlier stop. */
interface KnownWait {
  /** Registers that tell this wait from another one of the thread. */
  signature: string;
  /** The call, which no longer shows once it was restarted. */
  number: number;
  /** CLOCK_MONOTONIC of this host, nanoseconds; null where the kernel tells what remains, or it has no end. */
  deadlineNs: bigint | null;
}

/** What is known of waits, kept from stop to stop. */
export class WaitClock {
  readonly #known = new Map<number, KnownWait>();

  /**
   * The registers of a stopped thread, as they were before the kernel got ready to restart its wait. Stopped again right
   * then (handle_signal and arch_do_signal_or_restart in arch/x86/kernel/signal.c), a thread stands before the call of
   * restart_syscall(2), which means nothing in another process.
   */
  standing(tid: number, asStopped: Registers): Registers {
    const known = this.#known.get(tid);
    if (!known || getSigned(asStopped, 'rax') !== BigInt(syscalls.restartSyscall)) return asStopped;
    const returned = withRegisters(asStopped, {
      rip: get(asStopped, 'rip') + syscallBytes,
      rax: restartBlockMark,
      originalRax: BigInt(syscalls.restartSyscall),
    });
    return signatureOf(returned) === known.signature ? returned : asStopped;
  }

  /**
   * The call that a thread was interrupted in; null where it was in none. `sleepsIn`: the kernel function it was last seen
   * asleep in, or empty.
   */
  callOf(tid: number, asStopped: Registers, sleepsIn: string): number | null {
    const number = currentSyscall(asStopped);
    if (number !== syscalls.restartSyscall) return number;
    return this.#restarted(tid, asStopped)?.number ?? interruptedCall(asStopped, sleepsIn);
  }

  #restarted(tid: number, asStopped: Registers): KnownWait | undefined {
    const known = this.#known.get(tid);
    const isSame = currentSyscall(asStopped) === syscalls.restartSyscall;
    return isSame && known?.signature === signatureOf(asStopped) ? known : undefined;
  }

  /**
   * What remains of a thread's relative wait; null for every other thread and for waits without an end. `asStopped`:
   * the registers as ptrace tells them. `stoppedNs`: CLOCK_MONOTONIC when it stood still, or a little later.
   */
  remaining(
    tid: number,
    asStopped: Registers,
    observation: SleepObservation | undefined,
    stoppedNs: bigint,
    read: ReadMemory,
  ): Remaining | null {
    const restartBlock = inRestartBlock(asStopped);
    if (!restartBlock) this.#known.delete(tid);
    if (!isInterrupted(asStopped)) return null;
    const { sleepsIn } = observation ?? nothing;
    const number = this.callOf(tid, asStopped, sleepsIn);
    if (number === null) return null;
    if (restartBlock) this.#remember(tid, asStopped, number);
    const place = timeoutPlace(asStopped, number);
    if (!place) return null;
    const requestedNs = () => readTimeout(asStopped, place, read);
    if (deadlineHolder(asStopped) === 'program' || countsProcessorTime(number, asStopped)) {
      return { place, ns: remainderGiven(number, asStopped, read) ?? requestedNs() };
    }
    const leftNs = () => left(requestedNs(), observation ?? nothing, stoppedNs);
    if (!restartBlock) return { place, ns: leftNs() };
    const given = remainderGiven(number, asStopped, read);
    const ns = given ?? this.#untilDeadline(tid, leftNs);
    return { place, ns };
  }

  #remember(tid: number, asStopped: Registers, number: number): void {
    const deadlineNs = this.#restarted(tid, asStopped)?.deadlineNs ?? null;
    this.#known.set(tid, { signature: signatureOf(asStopped), number, deadlineNs });
  }

  #untilDeadline(tid: number, fromNow: () => bigint): bigint {
    const now = process.hrtime.bigint();
    const known = this.#known.get(tid)!;
    known.deadlineNs ??= now + fromNow();
    return atLeastZero(known.deadlineNs - now);
  }
}

/**
 * What a wait had left when its thread was looked at. If it would have ended before the thread stood still, then it has,
 * and the thread was caught between entering the next one and falling asleep there: that one has all of its time left.
 * (A wait whose end falls within the stop, but that was broken off before, begins again: late, but never early.)
 */
function left(requestedNs: bigint, { sleptNs, atNs }: SleepObservation, stoppedNs: bigint): bigint {
  if (sleptNs === 0n) return requestedNs;
  const atStopNs = sleptNs + sleptNs / clockDrift + stoppedNs - atNs;
  return atStopNs < requestedNs ? requestedNs - sleptNs : requestedNs;
}

function atLeastZero(ns: bigint): bigint {
  return ns > 0n ? ns : 0n;
}

// Such a clock stands still while the program sleeps: what has passed of it is not known.
function countsProcessorTime(number: number, registers: Registers): boolean {
  const processClock = 2n; // CLOCK_PROCESS_CPUTIME_ID; those of other processes are negative
  const clock = BigInt.asIntN(32, get(registers, 'rdi'));
  return number === syscalls.clockNanosleep && (clock === processClock || clock < 0n);
}

/** Interrupting a sleep makes the kernel write what is left of it where the program asked for that. */
function remainderGiven(number: number, registers: Registers, read: ReadMemory): bigint | null {
  const register = number === syscalls.nanosleep ? 'rsi' : number === syscalls.clockNanosleep ? 'r10' : null;
  if (register === null || get(registers, register) === 0n) return null;
  return readTimeout(registers, { register, form: 'timespec' }, read);
}

function signatureOf(registers: Registers): string {
  return (['rip', 'rsp', 'rdi', 'rsi', 'rdx', 'r10'] as const)
    .map((name) => get(registers, name).toString(16))
    .join();
}

/**
 * The call behind restart_syscall(2), told from where the thread sleeps. One that was stopped before it slept again, and
 * of which nothing is known, is taken for a sleep, unless its argument is no address.
 */
function interruptedCall(registers: Registers, sleepsIn: string): number {
  if (sleepsIn.includes('poll')) return syscalls.poll;
  if (sleepsIn.includes('futex')) return syscalls.futex;
  const isNoAddress = (name: 'rdi' | 'rdx') => get(registers, name) < lowestAddress;
  if (sleepsIn === '' && isNoAddress('rdi') && isNoAddress('rdx')) return syscalls.poll;
  // clock_nanosleep's first argument is a clock id, nanosleep's an address.
  return getSigned(registers, 'rdi') < lowestAddress ? syscalls.clockNanosleep : syscalls.nanosleep;
}
