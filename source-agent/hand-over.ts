/** The freeze and the decision: the part of the walk in which the program stands still. */
import { asMigrationError, MigrationError } from '../shared/errors.js';
import { PhaseClock } from '../shared/phases.js';
import type { FromTarget } from '../shared/protocol/messages.js';
import type { State } from '../shared/state/index.js';
import { pack } from '../shared/state/packed.js';
import { changedSince, type KnownFiles } from './changed-files.js';
import { type Conversation, failureOf } from './conversation.js';
import { endSource } from './ending.js';
import type { FrozenProcess } from './frozen-process.js';
import { hold, unhold } from './holder.js';
import type { PageStream } from './page-stream.js';
import { type FinalScan, type PreCopy, pairOf } from './precopy.js';
import type { StepEvent } from './report.js';
import { difference } from './state-difference.js';
import type { Stopper } from './stop.js';

const finishMs = 30000;
const commitMs = 10000;
const mostFreezes = 4;

/**
 * What is in it could not be done before and cannot wait. Throws MigrationError: the program then runs on here, unless
 * the code is 'in-doubt'.
 */
export async function handOver(
  stopper: Stopper,
  precopy: PreCopy,
  conversation: Conversation,
  stream: PageStream,
  files: KnownFiles,
  settled: State,
  step: (name: StepEvent['step']) => void,
) {
  const frozen = await freezeUnmoved(stopper, precopy);
  // What was read of the program before is not frozen time.
  const clock = new PhaseClock(frozen.stoppedAtMs);
  let decided = false;
  let final: FinalScan | undefined;
  try {
    clock.mark('freeze');
    final = precopy.beginFinal();
    // It is awaited later: a scan that fails while files are compared must not end the agent.
    final.collected.catch(() => undefined);
    const { state, assertUnblocked } = stopper.read(frozen, final.mappings);
    await precopy.follow(final);
    // The target puts it in place while we still look for pages.
    conversation.say({ type: 'adjust', state: pack(difference(settled, state)) });
    assertUnblocked();
    const vdso = stopper.unfinished(frozen, final.mappings);
    const changedFiles = await changedSince(files, state, final.layout);
    clock.mark('capture');
    const { sent: lastRound, dropped, guards } = await precopy.finish(final, () => clock.mark('scan'));
    clock.mark('send');
    conversation.say({
      type: 'finish',
      frames: stream.frames,
      dropped: dropped.map(pairOf),
      guards: guards.map(pairOf),
      changedFiles,
      vdso,
    });
    const prepared = await conversation.expect(finishMs, 'prepared');
    clock.mark('restore');

    step('commit');
    frozen.holdAll();
    hold(stopper.process.pid);
    clock.mark('record');
    decided = true;
    const running = await commit(conversation, frozen);
    clock.mark('switch');
    const left = endSource(frozen);
    const notes = left === null ? running.notes : [...running.notes, left];
    return { clock, prepared, running: { ...running, notes }, lastRound };
  } catch (error) {
    if (!decided) frozen[Symbol.dispose]();
    // Its descriptors are closed behind us: the scan must be over.
    await final?.collected.catch(() => undefined);
    throw error;
  }
}

/**
 * What a new mapping is, the kernel tells only together with all others (smaps), walking over all of the memory. So a
 * program that has just changed its mappings goes on for another round, a few times.
 */
async function freezeUnmoved(stopper: Stopper, precopy: PreCopy): Promise<FrozenProcess> {
  for (let tries = 1; ; tries += 1) {
    const frozen = await stopper.freezeToLeave();
    try {
      if (tries === mostFreezes || !precopy.moved) return frozen;
    } catch (error) {
      frozen[Symbol.dispose]();
      throw error;
    }
    frozen[Symbol.dispose]();
    await precopy.round();
  }
}

/** From here on the source stays held unless the target says clearly that it does not run. */
async function commit(
  conversation: Conversation,
  frozen: FrozenProcess,
): Promise<Extract<FromTarget, { type: 'running' }>> {
  const { pid } = frozen.process;
  const inDoubt = (cause: unknown) => {
    frozen.abandon();
    const what = `the target did not confirm the hand-over of process ${pid}: ${asMigrationError(cause).message}`;
    return new MigrationError('in-doubt', what, { pid, phase: 'commit' }, { cause });
  };
  let answer: Extract<FromTarget, { type: 'running' | 'failed' }>;
  try {
    answer = await conversation.ask({ type: 'commit' }, commitMs, 'running', 'failed');
  } catch (error) {
    throw inDoubt(error);
  }
  if (answer.type === 'running') return answer;
  const failure = failureOf(answer);
  // The target itself may not know: its shepherd is gone, and may have let the process run before.
  if (failure.code === 'in-doubt') throw inDoubt(failure);
  unhold(pid);
  frozen[Symbol.dispose]();
  throw failure;
}
