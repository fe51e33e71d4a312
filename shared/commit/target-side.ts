/**
 * The target's side of the hand-over (index.ts tells the protocol). The shepherd drives it, as it holds the copy and
 * outlives its agent; where the shepherd is gone, an agent answers from the journal.
 */
import type {
  CommitRecord,
  CommonInput,
  CommonOutput,
  FromSource,
  FromTarget,
  Recorded,
  Step,
} from './index.js';

export interface TargetState {
  readonly at: /** There is no record of it. */
    | 'unknown'
    /** The copy follows the source. */
    | 'building'
    /** All of freeze `epoch` is there, and is put in place. */
    | 'completing'
    /** The copy is complete and held, and `prepared` was said. */
    | 'prepared'
    /** COMMIT is being recorded. */
    | 'recording'
    /** COMMIT is recorded: it is being let run. */
    | 'starting'
    /** It runs, or has ended by itself. */
    | 'running'
    /** The copy is gone, ABORT is being recorded. */
    | 'refusing'
    /** Over: it never ran here and never will. */
    | 'aborted'
    /** COMMIT is recorded and the process is gone, nobody knows since when. */
    | 'lost';
  readonly epoch: number;
  readonly by: CommitRecord['by'];
  readonly settled: boolean;
}

/**
 * The process on the target, as a new agent finds it where no shepherd lives: 'ended' when the shepherd recorded that it
 * ended by itself, 'held' when the copy outlived the shepherd.
 */
export type TargetProcessState = 'running' | 'ended' | 'held' | 'none';

export type TargetInput =
  | CommonInput
  | { readonly type: 'received'; readonly message: FromSource }
  /** What became of 'complete', for this epoch. */
  | { readonly type: 'completed'; readonly epoch: number }
  | { readonly type: 'failed' }
  /** The copy is gone before it was let run: it was killed, or letting it run failed. */
  | { readonly type: 'gone' }
  /** It runs. */
  | { readonly type: 'started' };

export type TargetOutput =
  | CommonOutput<FromTarget>
  /** Put all of this freeze in place. Answered by 'completed' or 'failed'. */
  | { readonly type: 'complete'; readonly epoch: number }
  /** Let the copy run. Answered by 'started' or 'gone'. */
  | { readonly type: 'run' }
  /** End the copy, where there is one; when this is done it can never run. */
  | { readonly type: 'discard' };

export type TargetStep = Step<TargetState, TargetOutput>;

export const newTarget: TargetState = { at: 'building', epoch: 0, by: 'rule', settled: false };

/** The shepherd is gone: what the journal says, synced, and how the process is found. */
export function recoverTarget(recorded: Recorded, process: TargetProcessState): TargetStep {
  if (recorded === null) return stay({ ...newTarget, at: 'unknown', settled: true });
  const state: TargetState =
    recorded === 'damaged'
      ? newTarget
      : { at: 'building', epoch: recorded.epoch, by: recorded.by, settled: recorded.settled };
  const decision = recorded === 'damaged' ? 'unreadable' : recorded.decision;
  if (decision === 'open') return refuse(state, false);
  if (decision === 'abort') return { state: { ...state, at: 'aborted' }, outputs: [{ type: 'discard' }] };
  if (process === 'running' || process === 'ended') return stay({ ...state, at: 'running' });
  if (process === 'held' && decision === 'commit') return start(state);
  return { state: { ...state, at: 'lost' }, outputs: process === 'held' ? [{ type: 'discard' }] : [] };
}

export function stepTarget(state: TargetState, input: TargetInput): TargetStep {
  switch (state.at) {
    case 'unknown':
      return isFrom(input, 'commit', 'withdraw', 'abort') ? say(state, { type: 'unknown' }) : stay(state);
    case 'building':
    case 'completing':
      return whileBuilding(state, input);
    case 'prepared':
      return whilePrepared(state, input);
    case 'recording':
      return whileRecording(state, input);
    case 'starting':
      if (input.type === 'started') return say({ ...state, at: 'running' }, { type: 'running' });
      // It never ran, and nobody was told that it would.
      return input.type === 'gone' ? refuse(state, false) : stay(state);
    case 'refusing':
      if (!isAnswerTo(input, 'abort')) return stay(state);
      return say({ ...state, at: 'aborted' }, { type: 'aborted' });
    case 'running':
    case 'aborted':
    case 'lost':
      return whenOver(state, input);
  }
}

/** `prepared` has not been said for this freeze: nobody can have decided for it. */
function whileBuilding(state: TargetState, input: TargetInput): TargetStep {
  switch (input.type) {
    case 'received': {
      const { message } = input;
      if (message.type === 'prepare') return complete(state, message.epoch);
      if (message.type === 'reopen') return reopen(state, message.epoch);
      return refuse(state, true);
    }
    case 'completed':
      if (state.at !== 'completing' || input.epoch !== state.epoch) return stay(state);
      return askAgain({ ...state, at: 'prepared' });
    case 'failed':
    case 'gone':
    case 'cut':
    case 'late':
    case 'abort':
      return refuse(state, true);
    default:
      return stay(state);
  }
}

function complete(state: TargetState, epoch: number): TargetStep {
  if (epoch <= state.epoch) return stay(state);
  return { state: { ...state, at: 'completing', epoch }, outputs: [{ type: 'complete', epoch }] };
}

function reopen(state: TargetState, epoch: number): TargetStep {
  return stay(epoch < state.epoch ? state : { ...state, at: 'building', epoch });
}

/** The source may have recorded COMMIT by now, and this copy may be the last: only it, or a person, may end it. */
function whilePrepared(state: TargetState, input: TargetInput): TargetStep {
  switch (input.type) {
    case 'received':
      return hear(state, input.message);
    case 'linked':
    case 'late':
      return askAgain(state);
    case 'cut':
      return { state, outputs: [{ type: 'say', notice: 'silent' }] };
    case 'gone':
      return refuse(state, false);
    case 'resume':
      return input.alone ? write({ ...state, at: 'recording', by: 'person' }, 'commit') : askAgain(state);
    case 'abort':
      return input.alone ? refuse({ ...state, by: 'person' }, false) : askAgain(state);
    default:
      return stay(state);
  }
}

function hear(state: TargetState, message: FromSource): TargetStep {
  switch (message.type) {
    case 'prepare':
      // It was voided in between, which we did not hear.
      return complete(state, message.epoch);
    case 'reopen':
      return reopen(state, message.epoch);
    case 'commit':
      if (message.epoch === state.epoch) return write({ ...state, at: 'recording' }, 'commit');
      // No source says this of a freeze that was not prepared here: there is nothing right to run.
      return message.epoch > state.epoch ? refuse(state, false) : stay(state);
    case 'withdraw':
      return refuse(state, false);
    case 'abort':
      return refuse(state, true);
    case 'over':
      return stay(state);
  }
}

function whileRecording(state: TargetState, input: TargetInput): TargetStep {
  if (input.type === 'written' && input.decision === 'commit') return start(state);
  if (input.type === 'unwritten' || input.type === 'gone') return refuse(state, false);
  return stay(state);
}

function start(state: TargetState): TargetStep {
  return { state: { ...state, at: 'starting' }, outputs: [{ type: 'run' }] };
}

/** First the copy goes, so that whatever the disk does it cannot run any more. */
function refuse(state: TargetState, settled: boolean): TargetStep {
  const { state: refusing, outputs } = write({ ...state, at: 'refusing', settled }, 'abort');
  return { state: refusing, outputs: [{ type: 'discard' }, ...outputs] };
}

/** Decided: the same answer to everything that still waits for one. */
function whenOver(state: TargetState, input: TargetInput): TargetStep {
  const type = state.at as 'running' | 'aborted' | 'lost';
  if (input.type === 'linked') return state.settled ? stay(state) : say(state, { type });
  if (input.type !== 'received') return stay(state);
  switch (input.message.type) {
    case 'over':
      return settle(state, type === 'aborted' ? 'abort' : 'commit');
    case 'abort': {
      // What was lost here went on at the source after all; what runs here, a person let go on there.
      const { state: settled, outputs } = settle(state, type === 'running' ? 'commit' : 'abort');
      const notice = type === 'running' ? [{ type: 'say', notice: 'two' } as const] : [];
      return { state: settled, outputs: [...outputs, ...notice, { type: 'send', message: { type } }] };
    }
    default:
      return say(state, { type });
  }
}

function settle(state: TargetState, decision: 'commit' | 'abort'): TargetStep {
  return state.settled ? stay(state) : write({ ...state, settled: true }, decision);
}

function isFrom(input: TargetInput, ...types: FromSource['type'][]): boolean {
  return input.type === 'received' && types.includes(input.message.type);
}

function isAnswerTo(input: TargetInput, decision: 'commit' | 'abort'): boolean {
  return (input.type === 'written' || input.type === 'unwritten') && input.decision === decision;
}

/** Said again it asks what has been decided. */
function askAgain(state: TargetState): TargetStep {
  return say(state, { type: 'prepared', epoch: state.epoch });
}

function stay(state: TargetState): TargetStep {
  return { state, outputs: [] };
}

function say(state: TargetState, message: FromTarget): TargetStep {
  return { state, outputs: [{ type: 'send', message }] };
}

function write(state: TargetState, decision: 'commit' | 'abort'): TargetStep {
  const { epoch, by, settled } = state;
  return { state, outputs: [{ type: 'write', record: { decision, epoch, by, settled } }] };
}
