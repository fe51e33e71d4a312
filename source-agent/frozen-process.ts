/**
 * The process, stopped: all threads held by ptrace, one of them carrying the stub that runs system calls in it. A
 * scope: leaving it thaws the process as it was. Should the agent die instead, the kernel lets the interrupted
 * threads go and the stub sends its own thread home.
 */
import { carrierBytes, type NativeCarrier, native, type ThreadImage } from '../native/index.js';
import { isKernelError, MigrationError } from '../shared/errors.js';
import { freeRange } from '../shared/free-range.js';
import type { CallBatch } from '../shared/injection/batch.js';
import { afterSignalReturn, asRestartable, inRestartBlock } from '../shared/injection/restart.js';
import { leaveCriticalSection } from '../shared/injection/rseq.js';
import { get, type Registers } from '../shared/injection/x86-64/registers.js';
import type { Mapping } from '../shared/proc/mappings.js';
import type { AddressRange } from '../shared/ranges.js';
import type { InjectionPoint } from './injection-point.js';
import { runOn } from './same-cpu.js';
import { noSuchProcess, type SourceProcess } from './source-process.js';
import { stackFloor } from './stack-room.js';
import type { Observations, WaitClock } from './waits.js';

const traceSysGood = 1; // PTRACE_O_TRACESYSGOOD
const stopTimeoutMs = 2000;
const SIGTRAP = 5;

/** A stopped thread. */
export interface FrozenThread {
  tid: number;
  /** As ptrace tells. */
  image: ThreadImage;
  /** The registers it goes on with, here or on the target. */
  registers: Registers;
  /** What remains of a relative wait; null where there is none. */
  remainingNs: bigint | null;
  /** A signal it does not block is pending. */
  deliverable: boolean;
}

export class FrozenProcess implements Disposable {
  readonly threads: FrozenThread[] = [];
  /** siginfo_t queued for the whole process. */
  readonly pending: Uint8Array[];
  readonly stoppedAtMs: number;
  #carrier: NativeCarrier | undefined;
  #mappings: readonly Mapping[] = [];
  #beside: Disposable | undefined;
  #over = false;

  /**
   * Stops every thread, also those that start meanwhile. Throws MigrationError 'stop-timeout', 'process-stopped'
   * (nothing would run in it), 'no-such-process', 'process-traced'; all threads then go on as they were.
   */
  constructor(
    readonly process: SourceProcess,
    readonly point: InjectionPoint,
    waits: WaitClock,
    private readonly observations: Observations,
    /** The CPU each thread ran on last. */
    private readonly cpus: ReadonlyMap<number, number>,
  ) {
    this.stoppedAtMs = performance.now();
    const tids = stopAll(process);
    try {
      this.pending = native.peekSignals(tids[0]!, true);
      const sharedSignals = this.pending.map(signalOf);
      for (const image of native.readThreads(tids)) {
        const deliverable = [...sharedSignals, ...image.pending.map(signalOf)].some(
          (signal) => ((image.signalMask >> BigInt(signal - 1)) & 1n) === 0n,
        );
        const observation = observations.get(image.tid);
        const registers = asRestartable(image.registers, deliverable, observation?.sleptNs ?? 0n);
        const remainingNs = waits.remaining(image.tid, registers, observation, (address) =>
          this.#timespec(address),
        );
        this.threads.push({ tid: image.tid, image, registers, remainingNs, deliverable });
      }
    } catch (error) {
      native.detach(tids);
      throw error;
    }
  }

  get tids(): number[] {
    return this.threads.map(({ tid }) => tid);
  }

  /** The stub's own mapping, which is not part of the program; null while there is none. */
  get stubRange(): AddressRange | null {
    return this.#carrier ? { start: this.#carrier.start, end: this.#carrier.end } : null;
  }

  /** The kernel function the thread slept in before it was stopped; empty where that is not known. */
  sleepsIn(tid: number): string {
    return this.observations.get(tid)?.sleepsIn ?? '';
  }

  read(address: bigint, bytes: number): Buffer {
    return native.readMemory(this.process.pid, address, bytes);
  }

  write(address: bigint, bytes: Uint8Array): void {
    native.writeMemory(this.process.pid, address, bytes);
  }

  #timespec(address: bigint): bigint {
    const bytes = this.read(address, 16);
    return bytes.readBigInt64LE(0) * 1000000000n + bytes.readBigInt64LE(8);
  }

  /**
   * Installs the stub in the thread best suited. `mappings` are those of the stopped process: they say where memory is
   * free, and how much room stacks have. Throws MigrationError 'no-stack-room'.
   */
  carry(mappings: readonly Mapping[]): void {
    this.#mappings = mappings;
    const address = freeRange(mappings, carrierBytes);
    let failure: unknown;
    for (const thread of this.#carrierCandidates()) {
      this.#leaveCriticalSection(thread);
      const { image, registers, deliverable } = thread;
      const cpu = this.cpus.get(thread.tid);
      this.#part();
      if (cpu !== undefined) this.#beside = runOn(cpu);
      try {
        this.#carrier = native.carry(
          { ...image, registers },
          afterSignalReturn(registers, deliverable),
          this.point.gadget,
          this.point.restorer,
          address,
          this.process.pidfd,
          this.#floorOf(thread),
        );
        return;
      } catch (error) {
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

  /** Runs calls in the process. A descriptor that call `owned` returns is closed again by the stub. */
  run(batch: CallBatch, owned?: number): void {
    this.carrier.run(batch.table(), owned);
  }

  /**
   * Runs a few calls in one thread that does not carry the stub; arguments from argumentBase on name bytes of `bytes`. Returns those bytes. Throws
   * MigrationError 'no-stack-room'.
   */
  runIn(thread: FrozenThread, batch: CallBatch, bytes: Uint8Array): Uint8Array {
    this.#leaveCriticalSection(thread);
    const { tid, image, registers, deliverable } = thread;
    try {
      return native.injectCalls(
        { ...image, registers },
        afterSignalReturn(registers, deliverable),
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

  /** All threads held by ptrace again, the stub still mapped: for a process that will not go on here. */
  holdAll(): void {
    this.#carrier?.stop();
    this.#part();
  }

  #part(): void {
    this.#beside?.[Symbol.dispose]();
    this.#beside = undefined;
  }

  /** The process runs on as it was. */
  [Symbol.dispose](): void {
    if (this.#over) return;
    this.#over = true;
    try {
      exceptGone(() => this.#carrier?.release());
      for (const thread of this.threads) {
        if (thread.tid === this.#carrier?.tid || thread.registers === thread.image.registers) continue;
        exceptGone(() => native.writeThread(thread.tid, thread.registers));
      }
    } finally {
      this.#part();
      // Whatever went wrong with one of them, the others go on.
      native.detach(this.tids);
    }
  }

  /** The process was ended: there is nothing to thaw. */
  abandon(): void {
    this.#over = true;
    this.#part();
  }
}

/** A thread that has ended needs nothing any more. */
function exceptGone(step: () => void): void {
  try {
    step();
  } catch (error) {
    if (!isKernelError(error, 'ESRCH')) throw error;
  }
}

/** si_signo of a siginfo_t. */
export function signalOf(info: Uint8Array): number {
  return Buffer.from(info.buffer, info.byteOffset, 4).readInt32LE();
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
    if (groupStopped) {
      const what = `process ${process.pid} was stopped by a signal`;
      throw new MigrationError('process-stopped', what, { pid: process.pid });
    }
    if (!stopped.has(process.pid)) throw noSuchProcess(process.pid);
    return [...stopped];
  } catch (error) {
    native.detach([...stopped]);
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
