/**
 * The whole story of a migration, on the source: read this first. The steps are those of ARCHITECTURE.md. Until the
 * target is told to commit, whatever goes wrong leaves the process running and unchanged.
 */
import { native } from '../native/index.js';
import { MigrationError } from '../shared/errors.js';
import { noteOf } from '../shared/force.js';
import { pauseOptimizer } from '../shared/optimizer.js';
import { formatAddress } from '../shared/protocol/address.js';
import type { NeededFile } from '../shared/protocol/messages.js';
import type { State } from '../shared/state/index.js';
import { detectImpossible } from './blockers.js';
import { Commitment } from './commitment.js';
import { Conversation } from './conversation.js';
import { explain } from './explanation.js';
import { handOver, isOver } from './hand-over.js';
import type { Inspection } from './inspection.js';
import { Interruption, interrupted } from './interruption.js';
import { newMigrationId } from './migration-id.js';
import { type Acquaintance, greet, neededFiles, offer } from './offer.js';
import { bringToEnd, openJournals } from './open-migrations.js';
import type { MigrationOptions } from './options.js';
import { PageStream } from './page-stream.js';
import type { PipeCensus } from './pipe-census.js';
import { PreCopy, pairOf, type RoundResult } from './precopy.js';
import { Rehearsal } from './rehearsal.js';
import type { Report, StepEvent } from './report.js';
import { closeRounds, sendRounds } from './round-loop.js';
import { StackWatch } from './signal-stacks.js';
import { SourceProcess } from './source-process.js';
import { startingOver } from './starting-over.js';
import { difference } from './state-difference.js';
import { lookSteadily } from './steady-look.js';
import { Stopper } from './stop.js';
import type { Choice } from './tracker/choice.js';
import type { Tracker } from './tracker/index.js';
import { TrackerSelection } from './tracker/selection.js';

const buildMs = 60000;
const abortMs = 10000;
/** Code that ran once is compiled; a few times more, and it is fast. */
const rehearsals = 4;

/** Throws MigrationError; the process then runs on here, unless the code is 'in-doubt'. */
export async function migrate(options: MigrationOptions): Promise<Report> {
  const directory = openJournals(options);
  await bringToEnd(directory, options);
  return startingOver(options, () => walk(options, directory));
}

async function walk(options: MigrationOptions, directory: string): Promise<Report> {
  const { pid } = options;
  const step = (name: StepEvent['step']) => {
    if (options.signal?.aborted) throw interrupted();
    options.onEvent({ event: 'step', step: name });
  };

  step('inspect');
  const impossible = detectImpossible(pid);
  if (impossible.length > 0) throw MigrationError.refused(impossible);
  using process = SourceProcess.open(pid);
  try {
    return await travel(process, options, directory, step);
  } catch (error) {
    throw await explain(process, error);
  }
}

async function travel(
  process: SourceProcess,
  options: MigrationOptions,
  directory: string,
  step: (name: StepEvent['step']) => void,
): Promise<Report> {
  const startedMs = performance.now();
  const migration = newMigrationId();
  const { inspection, pipes, blockers } = await lookSteadily(process);
  if (blockers.length > 0) throw MigrationError.refused(blockers);

  step('connect');
  await using conversation = await Conversation.open(options);
  const interruption = new Interruption(conversation, options.signal);
  const acquaintance = await interruption.during(greet(conversation));
  step('preflight');
  const files = neededFiles(inspection);
  const preflown = preflight(conversation, acquaintance, inspection, files, migration, options);
  const { sameInode, notes } = await interruption.during(preflown);
  const stacks = new StackWatch(acquaintance, options.force);

  const sent = new native.SentPages();
  const foreignVdso = inspection.vdso?.kernel === acquaintance.there.vdso ? null : inspection.vdso;
  const stopper = new Stopper(process, pipes, stacks, foreignVdso);
  const selection = new TrackerSelection(options.tracker, stopper, sent);
  using rehearsal = tryRehearsal(pipes, selection, notes);
  const channel = await conversation.session.pageChannel(0);
  using stream = new PageStream(process, channel, sent, options);
  let tracker: Tracker | undefined;
  const peer = formatAddress(options.target);
  await using commitment = Commitment.begin(directory, migration, process.pid, peer, conversation);
  try {
    step('arm');
    const armed = await arm(stopper, sent, conversation, stream, selection);
    tracker = armed.tracker;
    const { choice } = selection;
    options.onEvent({ event: 'tracker', ...choice });
    const tracked = isTracked(choice, options);
    step('build');
    const build = { type: 'build', mappings: armed.layout, state: armed.state } as const;
    await interruption.during(conversation.ask(build, buildMs, 'built'));

    step('rounds');
    const { precopy } = armed;
    const rounds = tracked ? await sendRounds(precopy, stream, options, interruption) : [];

    await commitment.prepare();
    if (commitment.note !== null) notes.push(commitment.note);
    step('settle');
    using _optimizer = pauseOptimizer();
    const settled = await interruption.during(settle(stopper, precopy, conversation, stream, armed.state));
    const closing = tracked ? await closeRounds(precopy, options, rounds.length, interruption) : [];

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
      commitment,
      step,
    );
    const totals = [...rounds, ...closing];
    const sum = (value: (round: RoundResult) => number) =>
      totals.reduce((all, round) => all + value(round), 0);
    return {
      event: 'result',
      outcome: 'moved',
      sourcePid: process.pid,
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
      tracker: choice.tracker,
      trackerWhy: choice.why,
      notes: [...notes, ...stacks.notes, ...running.notes],
      log: running.log,
    };
  } catch (error) {
    const failure = await explain(process, error);
    await tellAbort(conversation, commitment, failure);
    throw failure;
  } finally {
    tracker?.close();
  }
}

async function preflight(
  conversation: Conversation,
  acquaintance: Acquaintance,
  inspection: Inspection,
  files: NeededFile[],
  migration: string,
  { stdio, compareContents, force }: MigrationOptions,
) {
  const offered = { check: false, migration, stdio, compareContents, force };
  const judgement = await offer(conversation, acquaintance, inspection, files, offered);
  const { blockers, forced, sameInode } = judgement;
  if (blockers.length > 0) throw MigrationError.refused(blockers);
  return { sameInode, notes: [...forced.map(noteOf), ...judgement.notes] };
}

/**
 * False for stop and copy. Throws MigrationError 'downtime-exceeded' where it is not what was asked for: nobody can say
 * then how long the freeze will be.
 */
function isTracked({ tracker, why }: Choice, { tracker: wanted, onStall }: MigrationOptions): boolean {
  if (tracker !== 'none') return true;
  if (wanted === 'none' || onStall === 'force') return false;
  const what = `one freeze would have to carry everything, and --on-stall says cancel: ${why}`;
  throw new MigrationError('downtime-exceeded', what);
}

/** The first, short stop: the tracker is made in the program, and its whole state is read once. */
async function arm(
  stopper: Stopper,
  sent: InstanceType<typeof native.SentPages>,
  conversation: Conversation,
  stream: PageStream,
  selection: TrackerSelection,
) {
  let tracker: Tracker | undefined;
  try {
    let state: State;
    {
      using frozen = stopper.freeze();
      frozen.carry(stopper.mappings());
      tracker = selection.open(frozen);
      state = stopper.capture(frozen, []);
    }
    for (;;) {
      const precopy = new PreCopy(stopper, conversation, stream, tracker, sent);
      try {
        return { tracker, precopy, state, layout: await precopy.begin() };
      } catch (error) {
        tracker.close();
        tracker = selection.instead(error);
      }
    }
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
  await conversation.ask(
    { type: 'settle', frames: stream.frames, state: changes, huge: precopy.huge.map(pairOf) },
    buildMs,
    'settled',
  );
  for (let i = 0; i < rehearsals; i += 1) await rehearseTarget(conversation, stream, state);
  await isOver(new Promise(() => undefined));
  return state;
}

/** Without it the freeze is longer, that is all: the report says so. */
function tryRehearsal(pipes: PipeCensus, { choice }: TrackerSelection, notes: string[]): Rehearsal | null {
  let rehearsal: Rehearsal | null = null;
  try {
    rehearsal = Rehearsal.begin(pipes, choice.tracker);
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
      guards: [],
      state: { threads: state.threads },
      changedFiles: [],
      vdso: null,
    },
    buildMs,
    'rehearsed',
  );
}

/** Where the walk begins again, the target has to be rid of this one first. */
async function tellAbort(
  conversation: Conversation,
  commitment: Commitment,
  failure: MigrationError,
): Promise<void> {
  if (failure.code === 'in-doubt') return;
  await commitment.giveUp(failure);
  try {
    if (failure.code === 'process-exec') await conversation.awaitAborted(abortMs);
  } catch {
    // The link is gone; the target notices that by itself.
  }
}

function prefixed(prefix: string, phases: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(phases).map(([name, ms]) => [prefix + name, ms]));
}
