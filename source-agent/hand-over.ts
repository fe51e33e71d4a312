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
import { type FinalScan, type LastPages, type PreCopy, pairOf } from './precopy.js';
import type { StepEvent } from './report.js';
import { difference } from './state-difference.js';
import type { Stopper } from './stop.js';

const finishMs = 30000;
const commitMs = 10000;
const mostFreezes = 4;
/** There is one only. */
const epoch = 1;

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
  migration: string,
  step: (name: StepEvent['step']) => void,
) {
  const frozen = await freezeUnmoved(stopper, precopy);
  // What was read of the program before is not frozen time.
  const clock = new PhaseClock(frozen.stoppedAtMs);
  let decided = false;
  let final: FinalScan | undefined;
  let last: LastPages | undefined;
  try {
    clock.mark('freeze');
    final = precopy.beginFinal();
    // It is awaited later: a scan that fails while files are compared must not end the agent.
    final.collected.catch(() => undefined);
    frozen.carry(final.mappings);
    await precopy.follow(final);
    clock.mark('capture');
    // Of a program of usual size the scan is over by now, and its pages go out while the state is read.
    if (await isOver(final.collected)) last = await sendLast(precopy, final, clock);
    const { state, assertUnblocked } = stopper.read(frozen, final.mappings);
    let changes: Uint8Array | null = pack(difference(settled, state));
    // The target puts it in place while pages are on their way. Where they have arrived, one message is faster than two.
    const adjust = (changed: Uint8Array) => {
      conversation.say({ type: 'adjust', state: changed });
      changes = null;
    };
    if (!last) adjust(changes);
    clock.mark('capture');
    last ??= await sendLast(precopy, final, clock);
    const vdso = stopper.unfinished(frozen, final.mappings);
    const changedFiles = await changedSince(files, state, final.layout);
    if (changes && !(await isOver(last.sending))) adjust(changes);
    const lastRound = await last.sending;
    clock.mark('send');
    conversation.say({
      type: 'finish',
      epoch,
      state: changes,
      frames: stream.frames,
      dropped: last.dropped.map(pairOf),
      guards: last.guards.map(pairOf),
      changedFiles,
      vdso,
    });
    // While the target completes it.
    assertUnblocked();
    frozen.stopCarrier();
    const prepared = await conversation.expect(finishMs, 'prepared');
    clock.mark('restore');

    step('commit');
    frozen.holdAll();
    hold(stopper.process.pid);
    clock.mark('record');
    decided = true;
    const running = await commit(conversation, frozen, migration);
    clock.mark('switch');
    const left = endSource(frozen);
    const notes = left === null ? running.notes : [...running.notes, left];
    return { clock, prepared, running: { ...running, notes }, lastRound };
  } catch (error) {
    if (!decided) frozen[Symbol.dispose]();
    // Its descriptors are closed behind us: scan and sending must be over.
    await final?.collected.catch(() => undefined);
    await last?.sending.catch(() => undefined);
    throw error;
  }
}

/**
 * Whether it has come about by the next turn of the event loop. Node compiles what that takes when it is first used
 * (measured: 0.4 ms), so it is asked for once before the freeze.
 */
export function isOver(promise: Promise<unknown>): Promise<boolean> {
  return Promise.race([
    promise.then(
      () => true,
      () => true,
    ),
    new Promise<boolean>((resolve) => setImmediate(() => setImmediate(resolve, false))),
  ]);
}

async function sendLast(precopy: PreCopy, final: FinalScan, clock: PhaseClock): Promise<LastPages> {
  const last = await precopy.finish(final, () => clock.mark('scan'));
  // It is awaited later: pages that fail while something else does must not end the agent.
  last.sending.catch(() => undefined);
  return last;
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
  migration: string,
): Promise<Extract<FromTarget, { type: 'running' }>> {
  const { pid } = frozen.process;
  const inDoubt = (cause: unknown) => {
    frozen.abandon();
    const what = `the target did not confirm the hand-over of process ${pid}: ${asMigrationError(cause).message}`;
    return new MigrationError('in-doubt', what, { pid, phase: 'commit' }, { cause });
  };
  let answer: Extract<FromTarget, { type: 'running' | 'failed' | 'aborted' }>;
  try {
    answer = await conversation.ask(
      { type: 'commit', migration, epoch },
      commitMs,
      'running',
      'failed',
      'aborted',
    );
  } catch (error) {
    throw inDoubt(error);
  }
  if (answer.type === 'running') return answer;
  const failure =
    answer.type === 'failed'
      ? failureOf(answer)
      : new MigrationError('target-failed', answer.what ?? 'the target gave the process back', { pid });
  // The target itself may not know: its shepherd is gone, and may have let the process run before.
  if (failure.code === 'in-doubt') throw inDoubt(failure);
  unhold(pid);
  frozen[Symbol.dispose]();
  throw failure;
}
