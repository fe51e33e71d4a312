/** Stopping the process and reading its whole state: the same steps when tracking begins, in rehearsal and at last. */

import { setTimeout as sleep } from 'node:timers/promises';
import { MigrationError } from '../shared/errors.js';
import { get } from '../shared/injection/x86-64/registers.js';
import type { Mapping } from '../shared/proc/mappings.js';
import type { ProgramVdso, UnfinishedVdso } from '../shared/protocol/messages.js';
import type { AddressRange } from '../shared/ranges.js';
import type { State } from '../shared/state/index.js';
import { kernelVdso } from '../shared/vdso.js';
import { detectSince } from './blockers.js';
import { captureAll } from './capture/index.js';
import { FrozenProcess, type FrozenThread } from './frozen-process.js';
import { findInjectionPoint, type InjectionPoint, isValid } from './injection-point.js';
import { openDescriptors } from './inspection.js';
import type { PipeCensus } from './pipe-census.js';
import type { StackWatch } from './signal-stacks.js';
import type { SourceProcess } from './source-process.js';
import { handlerReturnsInto, unfinishedVdso } from './vdso-exit.js';
import { observeSleepers, WaitClock } from './waits.js';

/** With a pause that grows by a millisecond each: a fifth of a second in all. */
const handlerTries = 20;

export class Stopper {
  readonly #waits = new WaitClock();
  #point: InjectionPoint | undefined;

  constructor(
    readonly process: SourceProcess,
    readonly pipes: PipeCensus,
    /** What of the state must fit the target, if there is one. */
    private readonly stacks?: StackWatch,
    /** The program's vdso where the target has another one. */
    private readonly foreignVdso: ProgramVdso | null = null,
  ) {}

  /**
   * For going to the target: no handler has to return into a vdso that the target does not have. Throws MigrationError
   * 'stop-timeout' where that does not come about.
   */
  async freezeToLeave(): Promise<FrozenProcess> {
    if (!this.foreignVdso) return this.freeze();
    for (let tries = 1; ; tries += 1) {
      const mappings = this.mappings();
      const frozen = this.freeze();
      const thread = this.#threadReturningIn(frozen, mappings);
      if (!thread) return frozen;
      frozen[Symbol.dispose]();
      if (tries === handlerTries) throw handlerRuns(this.process.pid, thread.tid);
      await sleep(tries);
    }
  }

  /** What threads inside such a vdso need to finish there; null where there are none. */
  unfinished(frozen: FrozenProcess, mappings: readonly Mapping[]): UnfinishedVdso | null {
    if (!this.foreignVdso) return null;
    return unfinishedVdso(this.process.pid, frozen.threads, mappings, rangeOf(this.foreignVdso));
  }

  /**
   * Everything that can be read before the threads are stopped is read here. Throws MigrationError 'process-exec', and
   * as FrozenProcess.
   */
  freeze(): FrozenProcess {
    const { pid } = this.process;
    if (!this.#point || !isValid(pid, this.#point)) this.#point = this.#find();
    const { leader, threads } = this.process.look();
    const cpus = new Map(threads.map(({ tid, stat }) => [tid, stat.processor]));
    const observations = observeSleepers(pid, [...cpus.keys()], (tid) => cpus.get(tid)!);
    const frozen = new FrozenProcess(
      this.process,
      this.#point,
      this.#waits,
      observations,
      leader.stat.processor,
    );
    try {
      this.process.assertSameProgram();
    } catch (error) {
      frozen[Symbol.dispose]();
      throw error;
    }
    return frozen;
  }

  #find(): InjectionPoint {
    const { pid } = this.process;
    const point = findInjectionPoint(pid, this.process.mappings());
    if (!point) throw new MigrationError('no-injection-point', `process ${pid} maps no usable code`, { pid });
    return point;
  }

  /**
   * The state of all kinds. Installs the stub if it is not there yet. Throws MigrationError for what stands in the way
   * now, whatever preflight saw.
   */
  capture(frozen: FrozenProcess, mappings: readonly Mapping[]): State {
    const { state, assertUnblocked } = this.read(frozen, mappings);
    assertUnblocked();
    return state;
  }

  /** The same in two steps, for a freeze that has something better to do in between: nothing is decided before both. */
  read(frozen: FrozenProcess, mappings: readonly Mapping[]): { state: State; assertUnblocked: () => void } {
    if (!frozen.stubRange) frozen.carry(mappings);
    const { process, pipes } = this;
    const view = process.look(frozen.tids);
    const descriptors = openDescriptors(process.pid).filter(({ fd }) => fd !== frozen.carrier.descriptor);
    const assertUnblocked = () => {
      const blockers = detectSince({ process, view, descriptors }, pipes);
      if (blockers.length > 0) throw MigrationError.refused(blockers);
    };
    try {
      const state = captureAll({ frozen, view, descriptors, pipes });
      this.stacks?.look(state);
      return { state, assertUnblocked };
    } catch (error) {
      // What stands in the way is the better reason.
      assertUnblocked();
      throw error;
    }
  }

  mappings(): readonly Mapping[] {
    return this.process.mappings();
  }

  #threadReturningIn(frozen: FrozenProcess, mappings: readonly Mapping[]): FrozenThread | undefined {
    const own = kernelVdso(mappings);
    const left = [rangeOf(this.foreignVdso!), ...(own ? [own] : [])];
    const read = (address: bigint, bytes: number) => frozen.read(address, bytes);
    try {
      return frozen.threads.find(({ registers }) =>
        handlerReturnsInto(left, get(registers, 'rsp'), mappings, read),
      );
    } catch (error) {
      frozen[Symbol.dispose]();
      throw error;
    }
  }
}

function rangeOf({ start, image }: ProgramVdso): AddressRange {
  return { start, end: start + BigInt(image.byteLength) };
}

function handlerRuns(pid: number, tid: number): MigrationError {
  const what = `a signal handler of thread ${tid} has interrupted the vdso, which is another one on the target, and does not return`;
  return new MigrationError('stop-timeout', what, { pid, tid, object: 'vdso' });
}
