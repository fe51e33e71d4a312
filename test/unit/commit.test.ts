/** The machines, step by step: the whole walk, and what the exploration does not reach. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { atSource, atTarget } from '../../shared/commit/choices.js';
import { type CommitRecord, openRecord } from '../../shared/commit/index.js';
import { afterAgent, recoverSource, stepSource } from '../../shared/commit/source-side.js';
import {
  newSource,
  type SourceInput,
  type SourceState,
  type SourceStep,
} from '../../shared/commit/source-state.js';
import {
  newTarget,
  recoverTarget,
  stepTarget,
  type TargetInput,
  type TargetState,
  type TargetStep,
} from '../../shared/commit/target-side.js';

type Side = SourceStep | TargetStep;

/** Outputs in short: "send commit 1", "write abort 1 settled". */
function done({ outputs }: Side): string[] {
  return outputs.map((output) => {
    switch (output.type) {
      case 'send': {
        const { message } = output;
        return `send ${message.type}${'epoch' in message ? ` ${message.epoch}` : ''}`;
      }
      case 'write': {
        const { decision, epoch, by, settled } = output.record;
        return `write ${decision} ${epoch}${by === 'person' ? ' person' : ''}${settled ? ' settled' : ''}`;
      }
      case 'say':
        return `say ${output.notice}`;
      case 'complete':
        return `complete ${output.epoch}`;
      default:
        return output.type;
    }
  });
}

/** Feeds inputs one after the other; each with what is to be done. */
function source(from: SourceState, ...walk: [SourceInput, ...string[]][]): SourceState {
  return walk.reduce((state, [input, ...expected]) => {
    const step = stepSource(state, input);
    assert.equal(done(step), expected, `${state.at}: ${JSON.stringify(input)}`);
    return step.state;
  }, from);
}

function target(from: TargetState, ...walk: [TargetInput, ...string[]][]): TargetState {
  return walk.reduce((state, [input, ...expected]) => {
    const step = stepTarget(state, input);
    assert.equal(done(step), expected, `${state.at}: ${JSON.stringify(input)}`);
    return step.state;
  }, from);
}

const hears = <Message>(message: Message) => ({ type: 'received', message }) as const;
const written = (decision: 'commit' | 'abort') => ({ type: 'written', decision }) as const;
const commit: CommitRecord = { decision: 'commit', epoch: 1, by: 'rule', settled: false };
const committed: SourceState = { ...newSource, at: 'committed', epoch: 1 };
const prepared: TargetState = { ...newTarget, at: 'prepared', epoch: 1 };

test('the source walks through', () => {
  const end = source(
    newSource,
    [{ type: 'frozen' }, 'send prepare 1'],
    [hears({ type: 'prepared', epoch: 1 }), 'hold'],
    [{ type: 'held' }, 'write commit 1'],
    [written('commit'), 'send commit 1'],
    [hears({ type: 'running' }), 'write commit 1 settled'],
    [written('commit'), 'end'],
    [{ type: 'ended' }, 'send over'],
  );
  assert.is(end.at, 'moved');
});

test('the target walks through', () => {
  const end = target(
    newTarget,
    [hears({ type: 'prepare', epoch: 1 }), 'complete 1'],
    [{ type: 'completed', epoch: 1 }, 'send prepared 1'],
    [hears({ type: 'commit', epoch: 1 }), 'write commit 1'],
    [written('commit'), 'run'],
    [{ type: 'started' }, 'send running'],
    [hears({ type: 'over' }), 'write commit 1 settled'],
  );
  assert.equal([end.at, end.settled], ['running', true]);
});

test('before its record the source gives up at once, and lets it run before anything else', () => {
  for (const input of [
    { type: 'late' },
    { type: 'cut' },
    { type: 'unheld' },
    { type: 'ended' },
    { type: 'abort', alone: false },
    hears({ type: 'aborted' } as const),
  ] satisfies SourceInput[]) {
    for (const at of ['asked', 'holding'] as const) {
      const step = stepSource({ ...newSource, at, epoch: 1 }, input);
      assert.equal(done(step), ['release', 'write abort 1 settled', 'send abort'], JSON.stringify(input));
      assert.is(step.state.at, 'kept');
      // A hold that was under way.
      assert.equal(done(stepSource(step.state, { type: 'held' })), ['release']);
    }
  }
});

test('silence frees nobody', () => {
  source(
    committed,
    [{ type: 'cut' }, 'say silent'],
    [{ type: 'cut' }],
    [{ type: 'late' }, 'send commit 1'],
    [hears({ type: 'unknown' }), 'say unknown'],
    [{ type: 'late' }, 'send commit 1'],
    [hears({ type: 'lost' }), 'say lost-there'],
    [{ type: 'cut' }],
    [{ type: 'linked' }, 'send commit 1'],
  );
  target(prepared, [{ type: 'cut' }, 'say silent'], [{ type: 'late' }, 'send prepared 1']);
});

test('a damaged record is asked about, never presumed', () => {
  const held = recoverSource('damaged', 'held');
  assert.equal(done(held), ['hold']);
  source(
    held.state,
    [{ type: 'linked' }, 'send withdraw'],
    [hears({ type: 'running' }), 'write commit 0 settled'],
  );
  assert.equal(done(recoverSource('damaged', 'running')), ['hold', 'say thawed']);
  // The target cannot tell either whether it ran.
  const lost = recoverTarget('damaged', 'none');
  target(lost.state, [hears({ type: 'commit', epoch: 1 }), 'send lost']);
  assert.is(recoverTarget('damaged', 'running').state.at, 'running');
  assert.equal(done(recoverTarget('damaged', 'held')), ['discard']);
});

test('what a new agent does, by record and by how it finds the process', () => {
  const table: [CommitRecord, 'running' | 'held' | 'gone', SourceState['at'], ...string[]][] = [
    [openRecord, 'running', 'kept', 'release', 'write abort 0 settled', 'send abort'],
    [openRecord, 'held', 'kept', 'release', 'write abort 0 settled', 'send abort'],
    [commit, 'held', 'committed', 'hold'],
    [commit, 'running', 'committed', 'hold', 'say thawed'],
    [commit, 'gone', 'committed'],
    [{ ...commit, settled: true }, 'held', 'ending', 'end'],
    [{ ...commit, by: 'person' }, 'held', 'ending', 'end'],
    [{ ...commit, decision: 'abort' }, 'held', 'kept', 'release'],
  ];
  for (const [record, process, at, ...expected] of table) {
    const step = recoverSource(record, process);
    assert.equal([step.state.at, ...done(step)], [at, ...expected], `${record.decision}, ${process}`);
  }
  const targets: [CommitRecord, 'running' | 'ended' | 'held' | 'none', TargetState['at'], ...string[]][] = [
    [openRecord, 'none', 'refusing', 'discard', 'write abort 0'],
    [openRecord, 'held', 'refusing', 'discard', 'write abort 0'],
    [commit, 'running', 'running'],
    [commit, 'ended', 'running'],
    [commit, 'held', 'starting', 'run'],
    [commit, 'none', 'lost'],
    [{ ...commit, decision: 'abort' }, 'none', 'aborted', 'discard'],
  ];
  for (const [record, process, at, ...expected] of targets) {
    const step = recoverTarget(record, process);
    assert.equal([step.state.at, ...done(step)], [at, ...expected], `${record.decision}, ${process}`);
  }
});

test('without a record each side says what harms nobody', () => {
  const none = recoverSource(null, 'gone').state;
  source(
    none,
    [hears({ type: 'prepared', epoch: 1 }), 'send abort'],
    [hears({ type: 'running' }), 'send over'],
    [hears({ type: 'unknown' })],
    [{ type: 'linked' }],
  );
  const unknown = recoverTarget(null, 'none').state;
  target(
    unknown,
    [hears({ type: 'commit', epoch: 1 }), 'send unknown'],
    [hears({ type: 'withdraw' }), 'send unknown'],
    [hears({ type: 'prepare', epoch: 1 })],
    [hears({ type: 'over' })],
  );
});

test('a copy that ran after COMMIT is not replaced by the older one', () => {
  const thawed = source(
    committed,
    [{ type: 'thawed' }, 'hold', 'say thawed'],
    [{ type: 'linked' }, 'send withdraw'],
  );
  source(
    thawed,
    [{ type: 'resume', alone: false }, 'send withdraw'],
    [hears({ type: 'prepared', epoch: 1 }), 'send withdraw'],
  );
});

test('the last copy is not asked back', () => {
  const gone = source(committed, [{ type: 'ended' }], [{ type: 'abort', alone: true }, 'say gone']);
  source(gone, [{ type: 'linked' }, 'send commit 1']);
});

test('a person who decides alone is recorded before anything happens', () => {
  const returning = source(committed, [{ type: 'abort', alone: true }, 'write abort 1 person']);
  source(
    returning,
    [written('abort'), 'release', 'send abort'],
    [hears({ type: 'running' }), 'write abort 1 person settled', 'say two'],
  );
  // The answer came in time after all.
  source(returning, [hears({ type: 'running' }), 'write commit 1 settled'], [written('commit'), 'end']);
  const leaving = source(committed, [{ type: 'resume', alone: true }, 'write commit 1 person']);
  source(
    leaving,
    [written('commit'), 'end'],
    [{ type: 'ended' }, 'send commit 1'],
    [hears({ type: 'prepared', epoch: 1 }), 'send commit 1'],
    [hears({ type: 'aborted' }), 'write commit 1 person settled', 'say none'],
  );
  source(
    leaving,
    [hears({ type: 'aborted' }), 'write abort 1 settled'],
    [written('abort'), 'release', 'send abort'],
  );
  target(
    prepared,
    [{ type: 'abort', alone: true }, 'discard', 'write abort 1 person'],
    [written('abort'), 'send aborted'],
  );
  const running = target(
    prepared,
    [{ type: 'resume', alone: true }, 'write commit 1 person'],
    [written('commit'), 'run'],
    [{ type: 'started' }, 'send running'],
  );
  target(running, [hears({ type: 'abort' }), 'write commit 1 person settled', 'say two', 'send running']);
});

test('a COMMIT that cannot be replaced is not taken back without the word of the target', () => {
  const recording: SourceState = { ...newSource, at: 'recording', epoch: 1 };
  const held = source(
    recording,
    [{ type: 'unwritten', decision: 'commit' }, 'write abort 1'],
    [{ type: 'unwritten', decision: 'abort' }, 'send withdraw'],
  );
  source(
    held,
    [hears({ type: 'aborted' }), 'write abort 1 settled'],
    [{ type: 'unwritten', decision: 'abort' }, 'release', 'send abort'],
  );
});

test('a target that cannot record discards before it answers', () => {
  const recording: TargetState = { ...newTarget, at: 'recording', epoch: 1 };
  target(
    recording,
    [{ type: 'unwritten', decision: 'commit' }, 'discard', 'write abort 1'],
    [written('commit')],
    [{ type: 'unwritten', decision: 'abort' }, 'send aborted'],
  );
});

test('what has ended by itself over there has arrived all the same', () => {
  target(recoverTarget(commit, 'ended').state, [hears({ type: 'commit', epoch: 1 }), 'send running']);
});

test('messages of another freeze are not obeyed', () => {
  const asked: SourceState = { ...newSource, at: 'asked', epoch: 2 };
  source(asked, [hears({ type: 'prepared', epoch: 1 })], [hears({ type: 'prepared', epoch: 3 })]);
  const second: TargetState = { ...prepared, epoch: 2 };
  target(second, [hears({ type: 'commit', epoch: 1 })], [hears({ type: 'reopen', epoch: 1 })]);
  target(second, [hears({ type: 'commit', epoch: 3 }), 'discard', 'write abort 2']);
});

test('what the holder does when its agent is gone', () => {
  assert.is(afterAgent(openRecord), 'release');
  assert.is(afterAgent(null), 'keep');
  assert.is(afterAgent(commit), 'keep');
  assert.is(afterAgent({ ...commit, settled: true }), 'keep');
  assert.is(afterAgent('damaged'), 'keep');
  assert.is(afterAgent({ ...commit, decision: 'abort' }), 'sync, release');
});

test('a person is told what there is to choose, and what it risks, where there is a choice', () => {
  assert.is(atSource(newSource), null);
  assert.is(atTarget(newTarget), null);
  for (const state of [
    committed,
    { ...committed, doubt: 'unknown' },
    { ...committed, doubt: 'lost-there' },
    { ...committed, gone: true },
  ] as SourceState[]) {
    const { choices } = atSource(state)!;
    for (const { command, alone, risk } of choices) {
      assert.is(alone && risk === null, false, `${command} alone has no risk`);
      // What is offered does something.
      const step = stepSource(state, { type: command, alone });
      assert.ok(step.outputs.length > 0 && !done(step).includes('say gone'), command);
    }
  }
  for (const { command, alone } of atTarget(prepared)!.choices) {
    assert.ok(stepTarget(prepared, { type: command, alone }).outputs.length > 0, command);
  }
});

test.run();
