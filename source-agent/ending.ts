/** The end of the source, when the target runs: outsiders must not take it for the end of the process itself. */
import { native } from '../native/index.js';
import { isKernelError } from '../shared/errors.js';
import type { FrozenProcess } from './frozen-process.js';

const SIGKILL = 9;
const reapMs = 10000;

/**
 * Kills the held source and collects every traced thread; a leader is only gone once all of its threads are. The
 * process runs on the target by now, so a failure here is no failure of the migration: it is a line for the report.
 * `letGo` ends what else holds it: SIGKILL reaches a frozen thread only when it thaws, and then before any code of its own.
 */
export function endSource(frozen: FrozenProcess, letGo: () => void = () => undefined): string | null {
  const { pid } = frozen.process;
  frozen.abandon();
  try {
    native.kill(pid, SIGKILL);
  } catch (error) {
    if (isKernelError(error, 'ESRCH')) return null;
    return `process ${pid} could not be ended here (${(error as Error).message}): it is held`;
  }
  try {
    letGo();
  } catch (error) {
    return `process ${pid} has been killed but does not end (${(error as Error).message}): it is frozen`;
  }
  // Threads first: the leader's end is not reported before theirs have been collected.
  for (const tid of frozen.tids.filter((tid) => tid !== pid).concat(pid)) {
    try {
      for (let state = 'stopped'; state === 'stopped'; ) state = native.waitTracee(tid, reapMs).state;
    } catch (error) {
      if (!isKernelError(error, 'ECHILD', 'ESRCH')) return `the end of process ${pid} here took too long`;
    }
  }
  return null;
}
