/**
 * The freeze, rehearsed with a stand-in: a child of ours that only waits. The first stop of a real program would else
 * be the one in which all of this code is compiled, which takes several times as long as running it.
 */
import { closeSync } from 'node:fs';
import { native, skeletonProgram } from '../native/index.js';
import { endSource } from './ending.js';
import type { FrozenProcess } from './frozen-process.js';
import { hold } from './holder.js';
import type { PipeCensus } from './pipe-census.js';
import { SourceProcess } from './source-process.js';
import { difference } from './state-difference.js';
import { Stopper } from './stop.js';
import { UserfaultTracker } from './tracker/userfault.js';

/** Measured: the first takes 5 ms, the second 1.6, from the fourth on they take 1. */
const times = 5;
const stopMs = 2000;
const SIGKILL = 9;

/** About 20 ms. Throws where no stand-in can be made or stopped, which need not stand in a migration's way. */
export function rehearse(pipes: PipeCensus): void {
  // Its standard input ends with us, and it with that.
  const [input, lifeline] = native.pipe();
  let pid: number;
  try {
    pid = native.spawn({ program: skeletonProgram, pids: [], descriptors: [[input, 0]], newSession: false });
  } catch (error) {
    closeSync(lifeline);
    throw error;
  } finally {
    closeSync(input);
  }
  let ended = false;
  try {
    // The start of a program lets its parent go on before anything of it is mapped; it can be stopped once it runs.
    native.seizeAndStop([pid], 0, stopMs);
    native.detach([pid]);
    using process = SourceProcess.open(pid);
    const stopper = new Stopper(process, pipes);
    for (let i = 1; i < times; i += 1) {
      using frozen = stopper.freeze();
      perform(stopper, frozen);
    }
    const frozen = stopper.freeze();
    perform(stopper, frozen);
    frozen.holdAll();
    hold(pid);
    endSource(frozen);
    ended = true;
  } finally {
    closeSync(lifeline);
    if (!ended) {
      native.kill(pid, SIGKILL);
      while (native.reap(pid) === null);
    }
  }
}

function perform(stopper: Stopper, frozen: FrozenProcess): void {
  frozen.carry(stopper.mappings());
  UserfaultTracker.open(frozen, new native.SentPages(), 1).close();
  const state = stopper.capture(frozen, []);
  difference({ ...state, threads: [] }, state);
}
