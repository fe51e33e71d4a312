/**
 * The whole story of a migration, on the source: read this first. The steps are those of ARCHITECTURE.md. Until the
 * target is told to commit, whatever goes wrong leaves the process running and unchanged.
 */
import { native } from '../native/index.js';
import { asMigrationError, isKernelError, MigrationError } from '../shared/errors.js';
import type { NeededFile } from '../shared/protocol/messages.js';
import type { State } from '../shared/state/index.js';
import { detectBlockers, detectImpossible } from './blockers.js';
import { Conversation } from './conversation.js';
import { handOver } from './hand-over.js';
import { type Inspection, inspect } from './inspection.js';
import { Interruption, interrupted } from './interruption.js';
import { newMigrationId } from './migration-id.js';
import { greet, neededFiles, offer } from './offer.js';
import type { MigrationOptions } from './options.js';
import { PageStream } from './page-stream.js';
import { PipeCensus } from './pipe-census.js';
import { PreCopy, type RoundResult } from './precopy.js';
import { Rehearsal } from './rehearsal.js';
import type { Report, StepEvent } from './report.js';
import { closeRounds, sendRounds } from './round-loop.js';
import { SourceProcess } from './source-process.js';
import { difference } from './state-difference.js';
import { Stopper } from './stop.js';
import type { Tracker } from './tracker/index.js';
import { UserfaultTracker } from './tracker/userfault.js';

const buildMs = 60000;
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
  const host = await interruption.during(greet(conversation));
  step('preflight');
  const files = neededFiles(inspection);
  const sameInode = await interruption.during(preflight(conversation, inspection, files, options));

  const notes: string[] = [];
  using rehearsal = tryRehearsal(pipes, notes);
  const sent = new native.SentPages();
  const channel = await conversation.session.pageChannel(0);
  using stream = new PageStream(process, channel, sent, options);
  const stopper = new Stopper(process, pipes, inspection.vdso?.kernel === host.vdso ? null : inspection.vdso);
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
    // What ran a moment ago is still in the caches.
    rehearsal?.perform(1);
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
      notes: [...running.notes, ...notes],
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

/** Without it the freeze is longer, that is all: the report says so. */
function tryRehearsal(pipes: PipeCensus, notes: string[]): Rehearsal | null {
  let rehearsal: Rehearsal | null = null;
  try {
    rehearsal = Rehearsal.begin(pipes);
    rehearsal.perform(rehearsals);
    return rehearsal;
  } catch (error) {
    rehearsal?.[Symbol.dispose]();
    notes.push(`the freeze was not rehearsed on the source: ${(error as Error).message}`);
    return null;
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
      vdso: null,
    },
    buildMs,
    'rehearsed',
  );
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
