/**
 * The process that becomes the migrated one: stopped under ptrace, its address space laid out and filled, its threads
 * made. It begins as a new process of a tiny static program; everything after `adopt` would work on an existing one.
 * Until it is let go it dies with the shepherd.
 */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { carrierBytes, native, skeletonProgram, stubScratch } from '../native/index.js';
import { isKernelError, MigrationError } from '../shared/errors.js';
import { freeRange } from '../shared/free-range.js';
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import { parseMaps } from '../shared/proc/mappings.js';
import { parseStatus } from '../shared/proc/status.js';
import { type AddressRange, flatten } from '../shared/ranges.js';

const traceSysGood = 1;
const traceClone = 8;
const exitKill = 0x100000;
const options = traceSysGood | traceClone | exitKill;
const everySignal = (1n << 64n) - 1n;
const stopMs = 5000;
const syscallInstruction = Uint8Array.of(0x0f, 0x05);

export class Skeleton implements Disposable {
  /** Threads by the id they have inside. */
  readonly threads = new Map<number, number>();
  /** A descriptor in the skeleton that refers to the shepherd, through which descriptors are brought in. */
  helper: number;
  readonly pidfd: number;
  readonly memory: number;
  #gadget: bigint;
  #stub: bigint | null = null;
  #ended = false;

  private constructor(
    readonly pid: number,
    readonly innerPid: number,
    helper: number,
  ) {
    this.helper = helper;
    this.pidfd = native.pidfdOpen(pid);
    this.threads.set(innerPid, pid);
    const [state] = native.seizeAndStop([pid], options, stopMs);
    if (state!.state !== 'stopped') throw new MigrationError('target-failed', 'the skeleton ended by itself');
    // Only now is it sure to be the skeleton's own: exec wakes the parent of a vfork before it leaves the parent's
    // memory (fs/exec.c, exec_mmap); to become its tracer, one has to wait until it is through.
    this.memory = openSync(`/proc/${pid}/mem`, 'r+');
    // Signals that are queued for the program wait until it is itself; new threads inherit this.
    native.writeThread(pid, undefined, undefined, everySignal);
    const vdso = this.mappings().find(({ path }) => path === '[vdso]');
    const gadget = vdso ? native.findBytes(pid, flatten([vdso]), syscallInstruction) : null;
    if (gadget === null)
      throw new MigrationError('target-failed', 'the vdso of this kernel holds no system call');
    this.#gadget = gadget;
    this.step('close', syscalls.close, 0);
  }

  /**
   * A new process with this id, or any. `helper` is a descriptor number that the process will not need itself. Throws
   * MigrationError 'pid-taken'.
   */
  static create(wanted: number | null, helper: number): Skeleton {
    const own = native.pidfdOpen(process.pid);
    // Until it is traced it ends with its standard input, and that with us.
    const [input, lifeline] = native.pipe();
    try {
      const pid = native.spawn({
        program: skeletonProgram,
        pids: wanted === null ? [] : [wanted],
        descriptors: [
          [input, 0],
          [own, helper],
        ],
        newSession: false,
      });
      try {
        return new Skeleton(pid, wanted ?? innerPidOf(pid), helper);
      } catch (error) {
        native.kill(pid, 9);
        throw error;
      }
    } catch (cause) {
      if (wanted !== null && isKernelError(cause, 'EEXIST')) throw pidTaken(wanted, cause);
      throw cause;
    } finally {
      for (const fd of [own, input, lifeline]) closeSync(fd);
    }
  }

  mappings() {
    return parseMaps(readFileSync(`/proc/${this.pid}/maps`, 'utf8'));
  }

  /** Where a syscall instruction lies in it. */
  get gadget(): bigint {
    return this.#gadget;
  }

  /** The vdso was moved by so much. */
  moveGadget(by: bigint): void {
    this.#gadget += by;
  }

  /** Maps the stub where neither the skeleton nor the coming layout has anything. */
  mapStub(taken: readonly AddressRange[]): void {
    const both = [...taken, ...this.mappings()].sort((a, b) => (a.start < b.start ? -1 : 1));
    this.#stub = freeRange(both, carrierBytes);
    native.mapStub(this.pid, this.#gadget, this.#stub, Number(carrierBytes));
  }

  get stub(): AddressRange {
    if (this.#stub === null) throw new Error('the skeleton has no stub');
    return { start: this.#stub, end: this.#stub + carrierBytes };
  }

  /** Memory for the arguments of calls. */
  get scratch(): bigint {
    return this.stub.start + stubScratch;
  }

  /** Moves the stub out of the way of a mapping that is to come. */
  moveStub(taken: readonly AddressRange[]): void {
    const { start } = this.stub;
    const both = [...taken, ...this.mappings()].sort((a, b) => (a.start < b.start ? -1 : 1));
    const to = freeRange(both, carrierBytes);
    const maymoveFixed = 3; // MREMAP_MAYMOVE | MREMAP_FIXED
    this.step('mremap', syscalls.mremap, start, carrierBytes, carrierBytes, maymoveFixed, to);
    this.#stub = to;
  }

  /** The last thing: the skeleton holds nothing but the program then. */
  unmapStub(): void {
    this.step('munmap', syscalls.munmap, this.stub.start, carrierBytes);
    this.#stub = null;
  }

  /** One call without the stub. Throws KernelError. */
  step(name: string, number: number, ...given: (number | bigint)[]): bigint {
    const batch = new CallBatch();
    const call = batch.add(name, number, ...given);
    native.stepCall(this.pid, this.#gadget, batch.table());
    return batch.result(call);
  }

  /** Runs calls in its first thread, or another. Returns the tasks that were made, stopped. */
  run(batch: CallBatch, tid = this.pid): number[] {
    return batch.length === 0 ? [] : native.runTable(tid, this.stub.start, batch.table());
  }

  /** One call through the stub. Throws KernelError. */
  call(name: string, number: number, ...given: (number | bigint)[]): bigint {
    const batch = new CallBatch();
    const index = batch.add(name, number, ...given);
    this.run(batch);
    return batch.result(index);
  }

  /** Puts bytes into the scratch memory. Returns their address. */
  put(bytes: Uint8Array, offset = 0): bigint {
    const at = this.scratch + BigInt(offset);
    if (at + BigInt(bytes.byteLength) > this.stub.end) throw new Error('the scratch memory is too small');
    native.writeMemory(this.pid, at, bytes);
    return at;
  }

  /** Gives it copies of our descriptors; returns their numbers there: the lowest that are free. */
  bring(descriptors: readonly number[]): number[] {
    const batch = new CallBatch();
    for (const fd of descriptors) batch.add('pidfd_getfd', syscalls.pidfdGetfd, this.helper, fd, 0);
    this.run(batch);
    return descriptors.map((_, i) => Number(batch.result(i)));
  }

  /** Closes descriptors in it. */
  drop(descriptors: readonly number[]): void {
    const batch = new CallBatch();
    for (const fd of descriptors) batch.add('close', syscalls.close, fd);
    this.run(batch);
    batch.check();
  }

  /** It lives on without us from here. */
  release(): void {
    const tids = [...this.threads.values()];
    for (const tid of tids) native.setTraceOptions(tid, 0);
    native.detach(tids);
    this.#ended = true;
    this.#close();
  }

  [Symbol.dispose](): void {
    if (this.#ended) return;
    this.#ended = true;
    native.kill(this.pid, 9);
    this.#close();
    this.#collect();
  }

  // Its ids are free again then. Threads first: the leader's end is not reported before theirs have been collected.
  #collect(): void {
    const threads = [...this.threads.values()].filter((tid) => tid !== this.pid);
    for (const tid of [...threads, this.pid]) {
      try {
        while (native.waitTracee(tid, stopMs).state === 'stopped');
      } catch (error) {
        if (!isKernelError(error, 'ETIMEDOUT')) throw error;
        return; // our own end leaves it to its next parent
      }
    }
  }

  #close(): void {
    closeSync(this.pidfd);
    closeSync(this.memory);
  }
}

function innerPidOf(pid: number): number {
  return parseStatus(readFileSync(`/proc/${pid}/status`, 'utf8')).nsPid.at(-1)!;
}

function pidTaken(pid: number, cause: unknown): MigrationError {
  return new MigrationError(
    'pid-taken',
    `the id ${pid} is in use on the target`,
    { object: `pid ${pid}` },
    { cause },
  );
}
