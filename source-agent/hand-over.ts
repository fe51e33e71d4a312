/** The freeze and the decision: the part of the walk in which the program stands still. */
import { asMigrationError, MigrationError } from '../shared/errors.js';
import { PhaseClock } from '../shared/phases.js';
import type { FromTarget } from '../shared/protocol/messages.js';
import type { State } from '../shared/state/index.js';
import { pack } from '../shared/state/packed.js';
import { changedSince, type KnownFiles } from './changed-files.js';
import type { Commitment } from './commitment.js';
import { type Conversation, failureOf } from './conversation.js';
import type { FrozenProcess } from './frozen-process.js';
import type { PageStream } from './page-stream.js';
import { type FinalScan, type LastPages, type PreCopy, pairOf } from './precopy.js';
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
  commitment: Commitment,
  step: (name: StepEvent['step']) => void,
) {
  const frozen = await freezeUnmoved(stopper, precopy);
  commitment.stopped(frozen);
  // What was read of the program before is not frozen time.
  const clock = new PhaseClock(frozen.stoppedAtMs);
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
    const { dropped, guards } = last;
    const finish = (epoch: number) =>
      ({
        type: 'finish',
        epoch,
        state: changes,
        frames: stream.frames,
        dropped: dropped.map(pairOf),
        guards: guards.map(pairOf),
        changedFiles,
        vdso,
      }) as const;
    commitment.sent(finish);
    // While the target completes it.
    assertUnblocked();
    frozen.stopCarrier();
    const prepared = await conversation.expect(finishMs, 'prepared');
    clock.mark('restore');

    step('commit');
    commitment.hear(prepared);
    clock.mark('hold');
    await commitment.driver.idle();
    clock.mark('record');
    const running = await decide(conversation, commitment);
    clock.mark('switch');
    // Its end here is no part of the freeze.
    commitment.hear(running);
    await commitment.driver.idle();
    const added = [...endNotes(running), ...(commitment.left === null ? [] : [commitment.left])];
    return { clock, prepared, running: { ...running, notes: [...running.notes, ...added] }, lastRound };
  } catch (error) {
    await commitment.giveUp(asMigrationError(error));
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
      if (!precopy.lookStopped() || tries === mostFreezes) return frozen;
    } catch (error) {
      frozen[Symbol.dispose]();
      throw error;
    }
    frozen[Symbol.dispose]();
    await precopy.round();
  }
}

/** What frees or ends the source, or says that it stays held. */
type Verdict = Extract<FromTarget, { type: 'running' | 'aborted' | 'lost' | 'unknown' }>;
type Running = Extract<FromTarget, { type: 'running' }>;

/**
 * From COMMIT on only the target's clear word frees the source or ends it. Throws MigrationError: 'in-doubt' where there
 * is none.
 */
async function decide(conversation: Conversation, commitment: Commitment): Promise<Running> {
  const { driver } = commitment;
  let failure: unknown = driver.failure;
  while (driver.state.at === 'committed') {
    let answer: Verdict | Extract<FromTarget, { type: 'failed' | 'prepared' }>;
    try {
      answer = await conversation.hear(
        commitMs,
        'running',
        'aborted',
        'lost',
        'unknown',
        'failed',
        'prepared',
      );
    } catch (error) {
      driver.feed({ type: 'cut' });
      throw commitment.inDoubt(failure ?? error);
    }
    if ('migration' in answer && answer.migration !== commitment.migration) {
      const what = `the target answered for migration ${answer.migration}`;
      throw commitment.inDoubt(new MigrationError('protocol-violation', what));
    }
    if (answer.type === 'running') return answer;
    if (answer.type === 'failed') {
      // Why; what becomes of the copy there it says by itself.
      failure = failureOf(answer);
      continue;
    }
    commitment.hear(answer);
    if (answer.type === 'aborted') failure ??= new MigrationError('target-failed', whyAborted(answer));
    await driver.idle();
    if (driver.state.at === 'committed' && answer.type !== 'prepared') throw commitment.inDoubt(failure);
  }
  throw failure ?? new MigrationError('internal', 'the hand-over was given up for no reason');
}

function whyAborted({ what }: Extract<FromTarget, { type: 'aborted' }>): string {
  return what ?? 'the target gave the process back';
}

function endNotes({ ended }: Running): string[] {
  if (ended === null) return [];
  const { code, signal } = ended;
  const how = signal === null ? (code === null ? '' : ` with exit code ${code}`) : ` by signal ${signal}`;
  return [`it ran on the target and has ended there already${how}`];
}
