/**
 * The process, stopped: all threads held by ptrace, one of them carrying the stub that runs system calls in it. A
 * scope: leaving it thaws the process as it was. Should the agent die instead, the kernel lets the interrupted
 * threads go and the stub sends its own thread home.
 */
import { hrtime } from 'node:process';
import { carrierBytes, type NativeCarrier, native, type ThreadImage } from '../native/index.js';
import { isKernelError, MigrationError } from '../shared/errors.js';
import { freeRange } from '../shared/free-range.js';
import type { CallBatch } from '../shared/injection/batch.js';
import {
  afterSignalReturn,
  asRestartable,
  handlingFirst,
  inRestartBlock,
} from '../shared/injection/restart.js';
import { leaveCriticalSection } from '../shared/injection/rseq.js';
import { get, type Registers } from '../shared/injection/x86-64/registers.js';
import type { Mapping } from '../shared/proc/mappings.js';
import { parseStat } from '../shared/proc/stat.js';
import type { AddressRange } from '../shared/ranges.js';
import { FrozenWait } from './frozen-wait.js';
import type { InjectionPoint } from './injection-point.js';
import { handlesFirst, letsThrough, maskWhileWaiting, signalOf } from './pending-signals.js';
import { SameCpu } from './same-cpu.js';
import { noSuchProcess, type SourceProcess } from './source-process.js';
import { stackFloor } from './stack-room.js';
import { mustBeTimed, type Observations, stillAsleep, type WaitClock } from './waits.js';

const traceSysGood = 1; // PTRACE_O_TRACESYSGOOD
const stopTimeoutMs = 2000;
const SIGTRAP = 5;
const SIGSTOP = 19;

/** A stopped thread. */
export interface FrozenThread {
  tid: number;
  /** As ptrace tells. */
  image: ThreadImage;
  /** The registers it goes on with, here or on the target. */
  registers: Registers;
  /** Its relative wait; null where there is none. */
  wait: FrozenWait | null;
  /** The system call it was interrupted in, also where that was restarted; null for none. */
  call: number | null;
  /** A signal that its call does not block was pending when it was stopped. */
  deliverable: boolean;
  /** The mask in force while its call waits; that of `image` is the thread's own. */
  maskInForce: bigint;
}

export class FrozenProcess implements Disposable {
  readonly threads: FrozenThread[] = [];
  /** siginfo_t queued for the whole process. */
  readonly pending: Uint8Array[];
  readonly stoppedAtMs: number;
  readonly #heldSinceNs: bigint;
  #carrier: NativeCarrier | undefined;
  #mappings: readonly Mapping[] = [];
  readonly #beside = new SameCpu();
  #over = false;

  /**
   * Stops every thread, also those that start meanwhile. Throws MigrationError 'stop-timeout', 'process-stopped'
   * (nothing would run in it), 'no-such-process', 'process-traced'; all threads then go on as they were.
   */
  constructor(
    readonly process: SourceProcess,
    readonly point: InjectionPoint,
    waits: WaitClock,
    observations: Observations,
    /** The CPU on which one of its threads ran last. */
    cpu: number,
  ) {
    this.#beside.join(cpu);
    this.stoppedAtMs = performance.now();
    let tids: number[] = [];
    try {
      tids = stopAll(process);
      // All have stopped by now, so that no wait is taken for longer than it was.
      this.#heldSinceNs = hrtime.bigint();
      this.pending = native.peekSignals(tids[0]!, true);
      const images = native.readThreads(tids).map((image) => {
        const registers = waits.standing(image.tid, image.registers);
        return registers === image.registers ? image : { ...image, registers };
      });
      const timed = images.filter(({ registers }) => mustBeTimed(registers)).map(({ tid }) => tid);
      const asleep = stillAsleep(process.pid, timed, observations);
      for (const image of images) this.threads.push(this.#thread(image, waits, asleep));
      // At once: should the agent die, they go on with these.
      for (const { tid, image, registers } of this.threads) {
        if (registers !== image.registers) native.writeThread(tid, registers);
      }
      this.#join(this.#carrierCandidates()[0]!.tid);
    } catch (error) {
      this.#beside[Symbol.dispose]();
      native.detach(tids);
      throw error;
    }
  }

  #thread(image: ThreadImage, waits: WaitClock, asleep: Observations): FrozenThread {
    const { tid } = image;
    const maskInForce = maskWhileWaiting(this.process.pid, image);
    const signals = [...this.pending, ...image.pending];
    const read = (address: bigint, bytes: number) => this.read(address, bytes);
    const remaining = waits.remaining(tid, image.registers, asleep.get(tid), this.#heldSinceNs, read);
    const wait = remaining && new FrozenWait(this.process.pid, image, remaining.place, remaining.ns);
    const call = waits.callOf(tid, image.registers, asleep.get(tid)?.sleepsIn ?? '');
    const restartable = asRestartable(image.registers);
    const goingOn = wait ? wait.goingOn(restartable) : restartable;
    const registers = handlesFirst(image, maskInForce, signals) ? handlingFirst(goingOn) : goingOn;
    return { tid, image, registers, wait, call, deliverable: letsThrough(maskInForce, signals), maskInForce };
  }

  get tids(): number[] {
    return this.threads.map(({ tid }) => tid);
  }

  /** The stub's own mapping, which is not part of the program; null while there is none. */
  get stubRange(): AddressRange | null {
    return this.#carrier ? { start: this.#carrier.start, end: this.#carrier.end } : null;
  }

  read(address: bigint, bytes: number): Buffer {
    return native.readMemory(this.process.pid, address, bytes);
  }

  write(address: bigint, bytes: Uint8Array): void {
    native.writeMemory(this.process.pid, address, bytes);
  }

  /**
   * Installs the stub in the thread best suited. `mappings` are those of the stopped process: they say where memory is
   * free, and how much room stacks have. Throws MigrationError 'no-stack-room', 'process-stopped'.
   */
  carry(mappings: readonly Mapping[]): void {
    this.#mappings = mappings;
    const address = freeRange(mappings, carrierBytes);
    let failure: unknown;
    for (const thread of this.#carrierCandidates()) {
      this.#leaveCriticalSection(thread);
      const { image, registers } = thread;
      this.#join(thread.tid);
      try {
        this.#carrier = native.carry(
          { ...image, registers },
          homeOf(thread),
          this.point.gadget,
          this.point.restorer,
          address,
          this.process.pidfd,
          this.#floorOf(thread),
        );
        return;
      } catch (error) {
        if (isKernelError(error, 'EBUSY')) throw stoppedBySignal(this.process.pid, error);
        // A stack without room below it: another thread may have more.
        if (!isKernelError(error, 'EFAULT')) throw error;
        failure = error;
      }
    }
    const what = `no thread of process ${this.process.pid} has room on its stack for the stub`;
    throw new MigrationError('no-stack-room', what, { pid: this.process.pid }, { cause: failure });
  }

  // A sleep loses its restart block when it has to be repeated, so threads that do not sleep come first.
  #carrierCandidates(): FrozenThread[] {
    return [...this.threads].sort(
      (a, b) => Number(inRestartBlock(a.registers)) - Number(inRestartBlock(b.registers)),
    );
  }

  // Before anything else runs in the thread: the kernel then forgets the section, and nobody could tell any more.
  #leaveCriticalSection(thread: FrozenThread): void {
    thread.registers = leaveCriticalSection(thread.registers, thread.image.rseq, (address, bytes) =>
      this.read(address, bytes),
    );
  }

  #floorOf({ registers }: FrozenThread): bigint {
    return stackFloor(this.#mappings, get(registers, 'rsp'));
  }

  get carrier(): NativeCarrier {
    if (!this.#carrier) throw new Error('no stub is installed');
    return this.#carrier;
  }

  /**
   * Runs calls in the process. A descriptor that call `owned` returns is closed again by the stub. Throws
   * MigrationError 'process-stopped': the stub's own thread is not held, so a stop signal stops it.
   */
  run(batch: CallBatch, owned?: number): void {
    try {
      this.carrier.run(batch.table(), owned);
    } catch (error) {
      if (isKernelError(error, 'EBUSY')) throw stoppedBySignal(this.process.pid, error);
      throw error;
    }
  }

  /**
   * Runs a few calls in one thread that does not carry the stub; arguments from argumentBase on name bytes of
   * `bytes`. Returns those bytes. Throws
   * MigrationError 'no-stack-room'.
   */
  runIn(thread: FrozenThread, batch: CallBatch, bytes: Uint8Array): Uint8Array {
    this.#leaveCriticalSection(thread);
    const { tid, image, registers } = thread;
    try {
      return native.injectCalls(
        { ...image, registers },
        homeOf(thread),
        this.point.gadget,
        this.point.restorer,
        batch.table(),
        bytes,
        this.#floorOf(thread),
      );
    } catch (cause) {
      if (!isKernelError(cause, 'EFAULT')) throw cause;
      const what = `thread ${tid} has too little room on its stack for a remote call`;
      throw new MigrationError('no-stack-room', what, { pid: this.process.pid, tid }, { cause });
    }
  }

  /** No remote calls from here on: the thread that carries the stub is held as well. Returns the signal that stopped it. */
  stopCarrier(): number {
    const stoppedBy = this.#carrier?.stop() ?? SIGTRAP;
    this.#beside[Symbol.dispose]();
    return stoppedBy;
  }

  /**
   * All threads held by ptrace again, the stub still mapped: for a process that will not go on here. Throws
   * MigrationError 'process-stopped', and KernelError ESRCH where it was ended: what somebody asked of the process
   * while it stood still must not be lost with it.
   */
  holdAll(): void {
    const stoppedBy = this.stopCarrier();
    const pending = native.peekSignals(this.process.pid, true).map(signalOf);
    if (stoppedBy !== SIGTRAP || pending.includes(SIGSTOP)) throw stoppedBySignal(this.process.pid);
  }

  /** Runs beside the thread that carries the stub, or will. */
  #join(tid: number): void {
    const [text] = native.readFiles([`/proc/${this.process.pid}/task/${tid}/stat`]);
    if (typeof text !== 'number') this.#beside.join(parseStat(text!.toString()).processor);
  }

  /** The process runs on as it was. */
  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    try {
      exceptGone(() => this.#carrier?.release());
      const heldNs = hrtime.bigint() - this.#heldSinceNs;
      for (const thread of this.threads) {
        exceptGone(() => {
          const registers = this.#thawed(thread, heldNs);
          if (registers !== thread.image.registers) native.writeThread(thread.tid, registers);
        });
      }
    } finally {
      this.#beside[Symbol.dispose]();
      // Whatever went wrong with one of them, the others go on.
      native.detach(this.tids);
    }
  }

  #thawed({ tid, image, registers, wait, maskInForce }: FrozenThread, heldNs: bigint): Registers {
    const now = wait ? wait.thaw(registers, heldNs) : registers;
    if ((maskInForce & ~image.signalMask) === 0n) return now;
    // Signals may have come meanwhile.
    const signals = [...native.peekSignals(tid, true), ...native.peekSignals(tid, false)];
    return handlesFirst(image, maskInForce, signals) ? handlingFirst(now) : now;
  }

  /** The process was ended: there is nothing to thaw. */
  abandon(): void {
    this.#over = true;
    this.#beside[Symbol.dispose]();
  }
}

/** The registers with which a thread leaves a signal frame of ours. */
function homeOf({ registers, wait, deliverable }: FrozenThread): Registers {
  return afterSignalReturn(wait ? wait.callingAgain(registers) : registers, deliverable);
}

/** A thread that has ended needs nothing any more. */
function exceptGone(step: () => void): void {
  try {
    step();
  } catch (error) {
    if (!isKernelError(error, 'ESRCH')) throw error;
  }
}

function stoppedBySignal(pid: number, cause?: unknown): MigrationError {
  return new MigrationError('process-stopped', `process ${pid} was stopped by a signal`, { pid }, { cause });
}

function stopAll(process: SourceProcess): number[] {
  const stopped = new Set<number>();
  const gone = new Set<number>();
  let groupStopped = false;
  try {
    // Threads that were started by one that had not stopped yet show up in the next look.
    for (;;) {
      const fresh = process.threadIds().filter((tid) => !stopped.has(tid) && !gone.has(tid));
      if (fresh.length === 0) break;
      native.seizeAndStop(fresh, traceSysGood, stopTimeoutMs).forEach((result, i) => {
        (result.state === 'stopped' ? stopped : gone).add(fresh[i]!);
        if (result.state === 'stopped' && result.signal !== SIGTRAP) groupStopped = true;
      });
    }
    if (groupStopped) throw stoppedBySignal(process.pid);
    if (!stopped.has(process.pid)) throw noSuchProcess(process.pid);
    return [...stopped];
  } catch (error) {
    // A thread that has become another program bears the id of the first one.
    native.detach([...new Set([process.pid, ...stopped, ...gone])]);
    if (isKernelError(error, 'ETIMEDOUT')) {
      const subject = { pid: process.pid, ...(error.pid === undefined ? {} : { tid: error.pid }) };
      const what = `thread ${error.pid} did not stop within ${stopTimeoutMs} ms`;
      throw new MigrationError('stop-timeout', what, subject, { cause: error });
    }
    if (isKernelError(error, 'EPERM')) {
      const what = `process ${process.pid} may not be traced, or something traces it already`;
      throw new MigrationError('process-traced', what, { pid: process.pid }, { cause: error });
    }
    throw error;
  }
}
