/**
 * The freeze, rehearsed with a stand-in: a child of ours that only waits. The first stop of a real program would else
 * be the one in which all of this code is compiled, which takes several times as long as running it.
 */
import { native } from '../native/index.js';
import { endSource } from './ending.js';
import type { FrozenProcess } from './frozen-process.js';
import { hold } from './holder.js';
import type { PipeCensus } from './pipe-census.js';
import { SourceProcess } from './source-process.js';
import { StandIn } from './stand-in.js';
import { difference } from './state-difference.js';
import { Stopper } from './stop.js';
import type { TrackerName } from './tracker/index.js';
import { UserfaultTracker } from './tracker/userfault.js';

/** Measured: the first takes 5 ms, the second 1.6, from the fourth on they take 1. */
const times = 5;

/** About 20 ms. Throws where no stand-in can be made or stopped, which need not stand in a migration's way. */
export function rehearse(pipes: PipeCensus, tracker: TrackerName): void {
  using standIn = StandIn.start();
  using process = SourceProcess.open(standIn.pid);
  const stopper = new Stopper(process, pipes);
  for (let i = 1; i < times; i += 1) {
    using frozen = stopper.freeze();
    perform(stopper, frozen, tracker);
  }
  const frozen = stopper.freeze();
  perform(stopper, frozen, tracker);
  frozen.holdAll();
  hold(standIn.pid);
  endSource(frozen);
  standIn.ended();
}

function perform(stopper: Stopper, frozen: FrozenProcess, tracker: TrackerName): void {
  frozen.carry(stopper.mappings());
  if (tracker === 'userfault') UserfaultTracker.open(frozen, new native.SentPages(), 1).close();
  const state = stopper.capture(frozen, []);
  difference({ ...state, threads: [] }, state);
}
