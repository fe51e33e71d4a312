/** Stopping the process and reading its whole state: the same steps when tracking begins, in rehearsal and at last. */
import { MigrationError } from '../shared/errors.js';
import type { Mapping } from '../shared/proc/mappings.js';
import type { State } from '../shared/state/index.js';
import { detectSince } from './blockers.js';
import { captureAll } from './capture/index.js';
import { FrozenProcess } from './frozen-process.js';
import { findInjectionPoint, type InjectionPoint, isValid } from './injection-point.js';
import { openDescriptors } from './inspection.js';
import type { PipeCensus } from './pipe-census.js';
import type { StackWatch } from './signal-stacks.js';
import type { SourceProcess } from './source-process.js';
import { observeSleepers, WaitClock } from './waits.js';

export class Stopper {
  readonly #waits = new WaitClock();
  #point: InjectionPoint | undefined;

  constructor(
    readonly process: SourceProcess,
    readonly pipes: PipeCensus,
    /** What of the state must fit the target, if there is one. */
    private readonly stacks?: StackWatch,
  ) {}

  /**
   * Everything that can be read before the threads are stopped is read here. Throws MigrationError 'process-exec', and
   * as FrozenProcess.
   */
  freeze(): FrozenProcess {
    const { pid } = this.process;
    if (!this.#point || !isValid(pid, this.#point)) this.#point = this.#find();
    const { threads } = this.process.look();
    const cpus = new Map(threads.map(({ tid, stat }) => [tid, stat.processor]));
    const observations = observeSleepers(pid, [...cpus.keys()], (tid) => cpus.get(tid)!);
    const frozen = new FrozenProcess(this.process, this.#point, this.#waits, observations, cpus);
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
}
