/**
 * The whole story of a migration, on the source: read this first. The steps are those of ARCHITECTURE.md. Until the
 * target is told to commit, whatever goes wrong leaves the process running and unchanged.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../native/index.js';
import { asMigrationError, isKernelError, MigrationError } from '../shared/errors.js';
import { PhaseClock } from '../shared/phases.js';
import type { FromTarget, NeededFile } from '../shared/protocol/messages.js';
import type { State } from '../shared/state/index.js';
import { detectBlockers, detectImpossible } from './blockers.js';
import { changedSince, type KnownFiles } from './changed-files.js';
import { Conversation, failureOf } from './conversation.js';
import { endSource } from './ending.js';
import type { FrozenProcess } from './frozen-process.js';
import { hold, unhold } from './holder.js';
import { type Inspection, inspect } from './inspection.js';
import { Interruption, interrupted } from './interruption.js';
import { newMigrationId } from './migration-id.js';
import { greet, neededFiles, offer } from './offer.js';
import type { MigrationOptions } from './options.js';
import { PageStream } from './page-stream.js';
import { PipeCensus } from './pipe-census.js';
import { type FinalScan, PreCopy, pairOf, type RoundResult } from './precopy.js';
import { rehearse } from './rehearsal.js';
import type { Report, StepEvent } from './report.js';
import { closingIsOver, decide, predictedDowntimeMs, type RoundMeasure } from './rounds.js';
import { SourceProcess } from './source-process.js';
import { difference } from './state-difference.js';
import { Stopper } from './stop.js';
import type { Tracker } from './tracker/index.js';
import { UserfaultTracker } from './tracker/userfault.js';
import { collectGarbage } from './warm-up.js';

const buildMs = 60000;
const finishMs = 30000;
const commitMs = 10000;
/** Until the rehearsal has measured it: what a freeze costs beside its pages. */
const assumedFixedMs = 5;
const scanThreads = 2;
/** Code that ran once is compiled; a few times more, and it is fast. */
const rehearsals = 4;

/** Throws MigrationError; the process then runs on here, unless the code is 'in-doubt'. */
export async function migrate(options: MigrationOptions): Promise<Report> {
  const { pid } = options;
  const startedMs = performance.now();
  const step = (name: StepEvent['step']) => {
    if (options.signal?.aborted) throw interrupted();
    options.onEvent({ event: 'step', step: name });
  };

  step('inspect');
  const impossible = detectImpossible(pid);
  if (impossible.length > 0) throw MigrationError.refused(impossible);
  using process = SourceProcess.open(pid);
  const pipes = new PipeCensus(pid);
  const inspection = inspect(process);
  const blockers = detectBlockers(inspection, pipes);
  if (blockers.length > 0) throw MigrationError.refused(blockers);

  step('connect');
  await using conversation = await Conversation.open(options);
  const interruption = new Interruption(conversation, options.signal);
  await interruption.during(greet(conversation));
  step('preflight');
  const files = neededFiles(inspection);
  const sameInode = await interruption.during(preflight(conversation, inspection, files, options));

  tryRehearsal(pipes);
  const sent = new native.SentPages();
  const channel = await conversation.session.pageChannel(0);
  using stream = new PageStream(process, channel, sent, options);
  const stopper = new Stopper(process, pipes);
  let tracker: Tracker | undefined;
  try {
    step('arm');
    const armed = arm(stopper, sent, conversation, stream);
    tracker = armed.tracker;
    step('build');
    const build = { type: 'build', mappings: armed.layout, state: armed.state } as const;
    await interruption.during(conversation.ask(build, buildMs, 'built'));

    step('rounds');
    const { precopy } = armed;
    const rounds = await sendRounds(precopy, stream, options, interruption);

    step('settle');
    const settled = await interruption.during(settle(stopper, precopy, conversation, stream, armed.state));
    const closing = await closeRounds(precopy, options, rounds.length, interruption);

    step('freeze');
    const { clock, prepared, running, lastRound } = await handOver(
      stopper,
      precopy,
      conversation,
      stream,
      { files, sameInode },
      settled,
      step,
    );
    const totals = [...rounds, ...closing];
    const sum = (value: (round: RoundResult) => number) =>
      totals.reduce((all, round) => all + value(round), 0);
    return {
      event: 'result',
      outcome: 'moved',
      sourcePid: pid,
      targetPid: running.pid,
      innerPid: settled.process.pid,
      rounds: totals.length + 1,
      bytes: {
        memory: sum(({ sent: { pages } }) => pages * 4096) + lastRound.pages * 4096,
        wire: sum(({ sent: { wireBytes } }) => wireBytes) + lastRound.wireBytes,
        zero: sum(({ sent: { zeroPages, skippedPages } }) => (zeroPages + skippedPages) * 4096),
        lastRound: lastRound.pages * 4096,
      },
      totalMs: performance.now() - startedMs,
      frozenMs: clock.totalMs,
      phases: { ...clock.phases, ...prefixed('target ', { ...prepared.phases, ...running.phases }) },
      tracker: tracker.name,
      notes: running.notes,
      log: running.log,
    };
  } catch (error) {
    const failure = failureWith(process, error);
    tellAbort(conversation, failure);
    throw failure;
  } finally {
    tracker?.close();
  }
}

async function preflight(
  conversation: Conversation,
  inspection: Inspection,
  files: NeededFile[],
  { stdio, compareContents }: MigrationOptions,
): Promise<ReadonlySet<string>> {
  const offered = { check: false, migration: newMigrationId(), stdio, compareContents };
  const { blockers, sameInode } = await offer(conversation, inspection, files, offered);
  if (blockers.length > 0) throw MigrationError.refused(blockers);
  return sameInode;
}

/** The first, short stop: the tracker is made in the program, and its whole state is read once. */
function arm(
  stopper: Stopper,
  sent: InstanceType<typeof native.SentPages>,
  conversation: Conversation,
  stream: PageStream,
) {
  const { process } = stopper;
  let tracker: Tracker | undefined;
  try {
    let state: State;
    {
      using frozen = stopper.freeze();
      frozen.carry(stopper.mappings());
      tracker = UserfaultTracker.open(frozen, sent, scanThreads);
      state = stopper.capture(frozen, []);
    }
    const precopy = new PreCopy(process, conversation, stream, tracker, sent);
    return { tracker, precopy, state, layout: precopy.begin(null) };
  } catch (error) {
    tracker?.close();
    throw error;
  }
}

async function sendRounds(
  precopy: PreCopy,
  stream: PageStream,
  options: MigrationOptions,
  interruption: Interruption,
): Promise<RoundResult[]> {
  const rounds: RoundResult[] = [];
  const history: RoundMeasure[] = [];
  for (;;) {
    const round = await interruption.during(precopy.round());
    const before = rounds.at(-1);
    rounds.push(round);
    history.push({
      bytes: round.bytes,
      durationMs: round.durationMs,
      dirtiedOverMs: before ? round.collectedAtMs - before.collectedAtMs : null,
    });
    tellRound(options, rounds.length - 1, round, history, false);
    if (rounds.length === 1) stream.measured((round.sent.wireBytes / Math.max(round.durationMs, 1)) * 1000);
    const decision = decide(history, assumedFixedMs, options);
    if (decision.next === 'freeze') return rounds;
    if (decision.next === 'cancel') {
      throw new MigrationError(
        'downtime-exceeded',
        'the rounds do not get shorter, and --on-stall says cancel',
      );
    }
    await interruption.during(sleep(decision.waitMs));
  }
}

/** Short rounds one behind the other, right before the freeze: only what is written during them is left. */
async function closeRounds(
  precopy: PreCopy,
  options: MigrationOptions,
  first: number,
  interruption: Interruption,
): Promise<RoundResult[]> {
  const rounds: RoundResult[] = [];
  collectGarbage();
  while (!closingIsOver(rounds.map(({ bytes }) => bytes))) {
    const round = await interruption.during(precopy.round());
    rounds.push(round);
    tellRound(options, first + rounds.length - 1, round, [], true);
  }
  return rounds;
}

/** A rehearsal of the last stop: it warms everything up, and the target settles all that will not change any more. */
async function settle(
  stopper: Stopper,
  precopy: PreCopy,
  conversation: Conversation,
  stream: PageStream,
  before: State,
): Promise<State> {
  let state: State;
  {
    using frozen = stopper.freeze();
    state = stopper.capture(frozen, stopper.mappings());
  }
  await precopy.round();
  const changes = difference(before, state);
  await conversation.ask({ type: 'settle', frames: stream.frames, state: changes }, buildMs, 'settled');
  for (let i = 0; i < rehearsals; i += 1) await rehearseTarget(conversation, stream, state);
  return state;
}

/** Without it the freeze is longer, that is all. */
function tryRehearsal(pipes: PipeCensus): void {
  try {
    rehearse(pipes);
  } catch {
    // What is wrong will be told where it is in the way.
  }
}

/** The target's part of the freeze, with a stand-in. */
async function rehearseTarget(conversation: Conversation, stream: PageStream, state: State): Promise<void> {
  await conversation.ask(
    {
      type: 'rehearse',
      frames: stream.frames,
      dropped: [],
      state: { threads: state.threads },
      changedFiles: [],
    },
    buildMs,
    'rehearsed',
  );
}

/** The freeze. What is in it could not be done before and cannot wait. */
async function handOver(
  stopper: Stopper,
  precopy: PreCopy,
  conversation: Conversation,
  stream: PageStream,
  files: KnownFiles,
  settled: State,
  step: (name: StepEvent['step']) => void,
) {
  const frozen = stopper.freeze();
  // What was read of the program before is not frozen time.
  const clock = new PhaseClock(frozen.stoppedAtMs);
  let decided = false;
  let final: FinalScan | undefined;
  try {
    clock.mark('freeze');
    final = precopy.beginFinal();
    // It is awaited later: a scan that fails while files are compared must not end the agent.
    final.collected.catch(() => undefined);
    const mappings = stopper.mappings();
    const state = stopper.capture(frozen, mappings);
    assertSameProgram(settled, state, stopper.process.pid);
    // While the scan goes on beside.
    const changes = difference(settled, state);
    const changedFiles = await changedSince(files, state, final.layout);
    clock.mark('capture');
    const { sent: lastRound, dropped } = await precopy.finish(final, () => clock.mark('scan'));
    clock.mark('send');
    conversation.say({
      type: 'finish',
      frames: stream.frames,
      dropped: dropped.map(pairOf),
      state: changes,
      changedFiles,
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

function assertSameProgram(before: State, now: State, pid: number): void {
  if (
    before.memory.executable === now.memory.executable &&
    before.memory.fields.startStack === now.memory.fields.startStack
  ) {
    return;
  }
  throw new MigrationError(
    'process-exec',
    `process ${pid} became ${now.memory.executable} during the rounds`,
    { pid },
  );
}

function tellRound(
  { onEvent }: MigrationOptions,
  number: number,
  round: RoundResult,
  history: readonly RoundMeasure[],
  closing: boolean,
): void {
  const { sent, durationMs } = round;
  const last = history.at(-1);
  onEvent({
    event: 'round',
    round: number,
    closing,
    pages: sent.pages,
    zeroPages: sent.zeroPages + sent.skippedPages,
    wireBytes: sent.wireBytes,
    durationMs,
    rateBytesPerSecond: ((sent.pages * 4096) / Math.max(durationMs, 0.001)) * 1000,
    dirtyBytesPerSecond: last?.dirtiedOverMs ? (last.bytes / last.dirtiedOverMs) * 1000 : null,
    predictedDowntimeMs: last ? predictedDowntimeMs(history, assumedFixedMs) : durationMs + assumedFixedMs,
  });
}

/** Whatever failed first, where the program has ended there is nothing else to tell. */
function failureWith(process: SourceProcess, cause: unknown): MigrationError {
  const { pid } = process;
  const unexplained =
    isKernelError(cause) || (cause instanceof MigrationError && cause.code === 'no-such-process');
  if (!unexplained || !process.ended) return asMigrationError(cause, 'internal', { pid });
  return new MigrationError('process-ended', `process ${pid} ended during the migration`, { pid }, { cause });
}

function tellAbort(conversation: Conversation, error: unknown): void {
  if (asMigrationError(error).code === 'in-doubt') return;
  try {
    conversation.say({ type: 'abort', reason: asMigrationError(error).message.slice(0, 4096) });
  } catch {
    // The link is gone; the target notices that by itself.
  }
}

function prefixed(prefix: string, phases: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(phases).map(([name, ms]) => [prefix + name, ms]));
}
