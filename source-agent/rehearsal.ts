/**
 * The freeze, rehearsed with a stand-in: a child of ours that only waits. The first stop of a real program would else
 * be the one in which all of this code is compiled and fetched, which takes several times as long as running it.
 */
import { native } from '../native/index.js';
import { endSource } from './ending.js';
import { StopHold } from './hold.js';
import type { PipeCensus } from './pipe-census.js';
import { SourceProcess } from './source-process.js';
import { StandIn } from './stand-in.js';
import { difference } from './state-difference.js';
import { Stopper } from './stop.js';
import type { TrackerName } from './tracker/index.js';
import { UserfaultTracker } from './tracker/userfault.js';

export class Rehearsal implements Disposable {
  readonly #stopper: Stopper;

  private constructor(
    private readonly standIn: StandIn,
    private readonly process: SourceProcess,
    pipes: PipeCensus,
    private readonly tracker: TrackerName,
  ) {
    this.#stopper = new Stopper(process, pipes);
  }

  /** Throws where no stand-in can be made or stopped, which need not stand in a migration's way. */
  static begin(pipes: PipeCensus, tracker: TrackerName): Rehearsal {
    const standIn = StandIn.start();
    try {
      return new Rehearsal(standIn, SourceProcess.open(standIn.pid), pipes, tracker);
    } catch (error) {
      standIn[Symbol.dispose]();
      throw error;
    }
  }

  /** The stop and the capture, 1 ms each when they are warm (measured: 5 ms the first, 1.6 the second, 1 the fifth). */
  perform(times: number): void {
    for (let i = 0; i < times; i += 1) {
      using frozen = this.#stopper.freeze();
      frozen.carry(this.#stopper.mappings());
      if (this.tracker === 'userfault') UserfaultTracker.open(frozen, new native.SentPages(), 1).close();
      const state = this.#stopper.capture(frozen, []);
      difference({ ...state, threads: [] }, state);
    }
  }

  /** The stand-in is held and ended as the source will be. */
  [Symbol.dispose](): void {
    if (this.standIn.hasEnded) return;
    using _standIn = this.standIn;
    using _process = this.process;
    try {
      const frozen = this.#stopper.freeze();
      frozen.carry(this.#stopper.mappings());
      frozen.holdAll();
      new StopHold(this.standIn.pid).hold();
      endSource(frozen);
      this.standIn.ended();
    } catch {
      // The stand-in is killed as it goes out of scope.
    }
  }
}
