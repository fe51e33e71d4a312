/** The source's side of the hand-over (index.ts tells the protocol): its agent drives it, the holder outlives that. */
import type { FromSource, FromTarget, Recorded } from './index.js';
import {
  newSource,
  type SourceInput,
  type SourceProcessState,
  type SourceState,
  type SourceStep,
} from './source-state.js';

/**
 * What the holder does when the agent is gone, from what the journal says: what may be the target's by now stays held.
 * An ABORT in the place of a COMMIT has to be on the disk first, or a power loss would bring the COMMIT back.
 */
export function afterAgent(recorded: Recorded): 'release' | 'sync, release' | 'keep' {
  if (recorded === null || recorded === 'damaged' || recorded.decision === 'commit') return 'keep';
  return recorded.decision === 'abort' ? 'sync, release' : 'release';
}

/** A new agent takes over: from what the journal says, synced, and how the process is found. */
export function recoverSource(recorded: Recorded, process: SourceProcessState): SourceStep {
  if (recorded === null) return stay({ ...newSource, at: 'none', settled: true });
  if (recorded === 'damaged') return committed({ ...newSource, at: 'committed', asks: 'withdraw' }, process);
  const { epoch, by, settled } = recorded;
  const state = { ...newSource, epoch, by, settled };
  switch (recorded.decision) {
    case 'open':
      return giveUp(state);
    case 'abort':
      return { state: { ...state, at: 'kept', gone: process === 'gone' }, outputs: [{ type: 'release' }] };
    case 'commit':
      if (settled || by === 'person') return end(state);
      return committed({ ...state, at: 'committed' }, process);
  }
}

function committed(found: SourceState, process: SourceProcessState): SourceStep {
  const state = { ...found, gone: process === 'gone' };
  if (process === 'running') return thawed(state);
  // Found held it is held again: the new agent's holder takes over.
  return { state, outputs: process === 'held' ? [{ type: 'hold' }] : [] };
}

export function stepSource(state: SourceState, input: SourceInput): SourceStep {
  switch (state.at) {
    case 'none':
      return whileUnrecorded(state, input);
    case 'open':
    case 'asked':
    case 'holding':
      return whileOpen(state, input);
    case 'recording':
      return whileRecording(state, input);
    case 'committed':
      return whileCommitted(state, input);
    case 'returning':
      return whileReturning(state, input);
    case 'leaving':
      return whileLeaving(state, input);
    case 'ending':
      return input.type === 'ended' ? arrive({ ...state, at: 'moved' }) : stay(state);
    case 'kept':
      return whenKept(state, input);
    case 'moved':
      return whenMoved(state, input);
  }
}

/** Without a COMMIT record it has given up, and a record that is cleaned up was settled: presumed abort. */
function whileUnrecorded(state: SourceState, input: SourceInput): SourceStep {
  if (input.type !== 'received') return stay(state);
  if (input.message.type === 'prepared') return say(state, { type: 'abort' });
  return input.message.type === 'unknown' ? stay(state) : say(state, { type: 'over' });
}

function whileOpen(state: SourceState, input: SourceInput): SourceStep {
  switch (input.type) {
    case 'frozen':
      if (state.at !== 'open') return stay(state);
      return say(
        { ...state, at: 'asked', epoch: state.epoch + 1 },
        { type: 'prepare', epoch: state.epoch + 1 },
      );
    case 'retry': {
      if (state.at !== 'asked') return stay(state);
      const { epoch } = state;
      return {
        state: { ...state, at: 'open' },
        outputs: [{ type: 'release' }, { type: 'send', message: { type: 'reopen', epoch } }],
      };
    }
    case 'held':
      if (state.at !== 'holding') return stay(state);
      return write({ ...state, at: 'recording' }, 'commit');
    case 'received':
      if (input.message.type === 'prepared') {
        if (state.at !== 'asked' || input.message.epoch !== state.epoch) return stay(state);
        return { state: { ...state, at: 'holding' }, outputs: [{ type: 'hold' }] };
      }
      return giveUp(state);
    case 'cut':
      // Rounds may go on over another link; a process that stands still does not wait for one.
      return state.at === 'open' ? stay(state) : giveUp(state);
    case 'unheld':
    case 'late':
    case 'ended':
    case 'abort':
      return giveUp(state);
    default:
      return stay(state);
  }
}

/** Nothing was ever recorded, so nothing has to be before it runs on. */
function giveUp(state: SourceState): SourceStep {
  const { epoch } = state;
  return {
    state: { ...state, at: 'kept', settled: true },
    outputs: [
      { type: 'release' },
      { type: 'write', record: { decision: 'abort', epoch, by: 'rule', settled: true } },
      { type: 'send', message: { type: 'abort' } },
    ],
  };
}

/** COMMIT may be on the disk already: ABORT has to be there too before it runs. */
function whileRecording(state: SourceState, input: SourceInput): SourceStep {
  switch (input.type) {
    case 'written':
      return say({ ...state, at: 'committed' }, { type: 'commit', epoch: state.epoch });
    case 'received':
      if (input.message.type === 'prepared') return stay(state);
      return takeBack(state, input.message.type === 'aborted');
    case 'unwritten':
    case 'late':
    case 'abort':
      return takeBack(state, false);
    default:
      return stay(state);
  }
}

function whileCommitted(state: SourceState, input: SourceInput): SourceStep {
  switch (input.type) {
    case 'received':
      return hear(state, input.message);
    case 'linked':
      return ask(state);
    case 'late': {
      const doubted = doubt(state, 'silent');
      return { state: doubted.state, outputs: [...doubted.outputs, ...ask(state).outputs] };
    }
    case 'cut':
      return doubt(state, 'silent');
    case 'thawed':
      return thawed(state);
    case 'ended':
      return stay({ ...state, gone: true });
    case 'abort':
      // What is not here cannot go on here: its last copy must not be given up for that.
      if (state.gone) return { state, outputs: [{ type: 'say', notice: 'gone' }] };
      // Where the target has lost it, nobody is left to ask.
      if (input.alone || state.doubt === 'lost-there')
        return takeBack({ ...state, by: 'person' }, !input.alone);
      return ask({ ...state, asks: 'withdraw' });
    case 'resume':
      if (input.alone || state.doubt === 'lost-there') return leave({ ...state, by: 'person' }, !input.alone);
      return ask(state);
    default:
      return stay(state);
  }
}

function hear(state: SourceState, message: FromTarget): SourceStep {
  switch (message.type) {
    case 'prepared':
      // An older freeze was void before this one began; without a readable record nobody knows which it was.
      return state.asks === 'withdraw' || message.epoch === state.epoch ? ask(state) : stay(state);
    case 'running':
      return leave(state, true);
    case 'aborted':
      return takeBack(state, true);
    case 'lost':
      return doubt(state, 'lost-there');
    case 'unknown':
      return doubt(state, 'unknown');
  }
}

function ask(state: SourceState): SourceStep {
  const { asks, epoch } = state;
  return say(state, asks === 'commit' ? { type: 'commit', epoch } : { type: 'withdraw' });
}

/** It is not what the target holds any more: that must not run in its place. */
function thawed(state: SourceState): SourceStep {
  return {
    state: { ...state, asks: 'withdraw' },
    outputs: [{ type: 'hold' }, { type: 'say', notice: 'thawed' }],
  };
}

function doubt(state: SourceState, notice: NonNullable<SourceState['doubt']>): SourceStep {
  // What the target said counts for more than that it says nothing now.
  if (state.doubt === notice || (notice === 'silent' && state.doubt !== null)) return stay(state);
  return { state: { ...state, doubt: notice }, outputs: [{ type: 'say', notice }] };
}

function takeBack(state: SourceState, settled: boolean): SourceStep {
  return write({ ...state, at: 'returning', settled }, 'abort');
}

function whileReturning(state: SourceState, input: SourceInput): SourceStep {
  // A person's decision that came too late: it has not run here yet.
  if (isFrom(input, 'running')) return leave({ ...state, by: 'rule' }, true);
  if (!isAnswerTo(input, 'abort')) return stay(state);
  if (input.type === 'unwritten' && !state.settled && state.by === 'rule') {
    // The COMMIT may be all that the disk holds: then only the target's word is good enough.
    return ask({ ...state, at: 'committed', asks: 'withdraw' });
  }
  return {
    state: { ...state, at: 'kept' },
    outputs: [{ type: 'release' }, { type: 'send', message: { type: 'abort' } }],
  };
}

function leave(state: SourceState, settled: boolean): SourceStep {
  return write({ ...state, at: 'leaving', settled }, 'commit');
}

function whileLeaving(state: SourceState, input: SourceInput): SourceStep {
  // The same the other way round: the copy here is still whole.
  if (isFrom(input, 'aborted')) return takeBack({ ...state, by: 'rule' }, true);
  return isAnswerTo(input, 'commit') ? end(state) : stay(state);
}

function end(state: SourceState): SourceStep {
  return { state: { ...state, at: 'ending' }, outputs: [{ type: 'end' }] };
}

function arrive(state: SourceState): SourceStep {
  // By a person who had no readable record: which freeze it was the target will say.
  if (!state.settled && state.epoch === 0) return stay(state);
  return say(state, state.settled ? { type: 'over' } : { type: 'commit', epoch: state.epoch });
}

function whenKept(state: SourceState, input: SourceInput): SourceStep {
  // A hold that was under way when it was given up.
  if (input.type === 'held') return { state, outputs: [{ type: 'release' }] };
  if (input.type === 'linked' || isFrom(input, 'prepared')) return say(state, { type: 'abort' });
  if (isFrom(input, 'running')) {
    const { state: settled, outputs } = settle(state, 'abort');
    return { state: settled, outputs: state.gone ? outputs : [...outputs, { type: 'say', notice: 'two' }] };
  }
  return isFrom(input, 'aborted', 'lost', 'unknown') ? settle(state, 'abort') : stay(state);
}

function whenMoved(state: SourceState, input: SourceInput): SourceStep {
  if (input.type === 'linked') return arrive(state);
  if (input.type === 'received' && input.message.type === 'prepared') {
    return state.settled ? stay(state) : arrive({ ...state, epoch: state.epoch || input.message.epoch });
  }
  if (isFrom(input, 'running')) {
    const { state: settled, outputs } = settle(state, 'commit');
    return { state: settled, outputs: [...outputs, { type: 'send', message: { type: 'over' } }] };
  }
  if (isFrom(input, 'aborted', 'lost')) {
    const { state: settled, outputs } = settle(state, 'commit');
    return { state: settled, outputs: state.settled ? [] : [...outputs, { type: 'say', notice: 'none' }] };
  }
  return stay(state);
}

/** The other side has been heard. */
function settle(state: SourceState, decision: 'commit' | 'abort'): SourceStep {
  return state.settled ? stay(state) : write({ ...state, settled: true }, decision);
}

function isFrom(input: SourceInput, ...types: FromTarget['type'][]): boolean {
  return input.type === 'received' && types.includes(input.message.type);
}

function isAnswerTo(input: SourceInput, decision: 'commit' | 'abort'): boolean {
  return (input.type === 'written' || input.type === 'unwritten') && input.decision === decision;
}

function stay(state: SourceState): SourceStep {
  return { state, outputs: [] };
}

function say(state: SourceState, message: FromSource): SourceStep {
  return { state, outputs: [{ type: 'send', message }] };
}

function write(state: SourceState, decision: 'commit' | 'abort'): SourceStep {
  const { epoch, by, settled } = state;
  return { state, outputs: [{ type: 'write', record: { decision, epoch, by, settled } }] };
}
