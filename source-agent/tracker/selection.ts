/** The tracker of one migration: chosen by what works here, made, and replaced where the program has it in use already. */
import type { NativeSentPages } from '../../native/index.js';
import { MigrationError } from '../../shared/errors.js';
import type { FrozenProcess } from '../frozen-process.js';
import type { Stopper } from '../stop.js';
import { type Choice, chooseTracker } from './choice.js';
import type { Tracker, TrackerName } from './index.js';
import { NoTracker } from './none.js';
import { probeTracker } from './probes.js';
import { SoftDirtyTracker } from './soft-dirty.js';
import { UserfaultTracker } from './userfault.js';

const scanThreads = 2;

export class TrackerSelection {
  readonly #failed = new Map<TrackerName, string>();
  #choice: Choice;

  /** Throws MigrationError 'tracker-unavailable' where the one that is wanted does not work here. */
  constructor(
    private readonly wanted: TrackerName | 'auto',
    private readonly stopper: Stopper,
    private readonly sent: NativeSentPages,
  ) {
    this.#choice = chooseTracker(wanted, probeTracker);
  }

  get choice(): Choice {
    return this.#choice;
  }

  /** Makes the tracker, in the stopped program where that is needed. */
  open(frozen: FrozenProcess): Tracker {
    if (this.#choice.tracker !== 'userfault') return this.#openOutside();
    try {
      return UserfaultTracker.open(frozen, this.sent, scanThreads);
    } catch (error) {
      return this.instead(error);
    }
  }

  /** The next one, for the reason that this one failed on the program. Throws the reason where it may not be replaced. */
  instead(error: unknown): Tracker {
    const replaceable =
      this.wanted === 'auto' &&
      error instanceof MigrationError &&
      (error.code === 'tracker-taken' || error.code === 'tracker-unavailable');
    if (!replaceable) throw error;
    this.#failed.set(this.#choice.tracker, `cannot be used: ${error.message}`);
    this.#choice = chooseTracker(this.wanted, probeTracker, this.#failed);
    return this.#openOutside();
  }

  #openOutside(): Tracker {
    const { process } = this.stopper;
    if (this.#choice.tracker === 'none') return new NoTracker(process, scanThreads);
    return new SoftDirtyTracker(process, this.sent, scanThreads, () => this.stopper.freeze());
  }
}
