/** The end of the source, when the target runs: outsiders must not take it for the end of the process itself. */
import { native } from '../native/index.js';
import { isKernelError } from '../shared/errors.js';
import type { FrozenProcess } from './frozen-process.js';

const SIGKILL = 9;
const reapMs = 10000;

/** Kills the held source and collects every traced thread; a leader is only gone once all of its threads are. */
export function endSource(frozen: FrozenProcess): void {
  const { pid } = frozen.process;
  frozen.abandon();
  native.kill(pid, SIGKILL);
  // Threads first: the leader's end is not reported before theirs have been collected.
  for (const tid of frozen.tids.filter((tid) => tid !== pid).concat(pid)) {
    try {
      for (let state = 'stopped'; state === 'stopped'; ) state = native.waitTracee(tid, reapMs).state;
    } catch (error) {
      if (!isKernelError(error, 'ECHILD', 'ESRCH', 'ETIMEDOUT')) throw error;
    }
  }
}
