// time limit: 300 s
/**
 * That the exploration can fail: machines with one wrong transition each. A mutant that is not caught would say that
 * what it changed is not needed, or not looked at.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { CommitRecord } from '../../shared/commit/index.js';
import type { SourceState, SourceStep } from '../../shared/commit/source-state.js';
import type { TargetState, TargetStep } from '../../shared/commit/target-side.js';
import { explore } from './support/exploration.js';
import { type Budget, type Machines, machines, ordinary } from './support/hand-over-world.js';

type SourceInputs = Parameters<Machines['stepSource']>[1];
type TargetInputs = Parameters<Machines['stepTarget']>[1];

/** A source that does something else where `differs` returns a step. */
function wrongSource(differs: (state: SourceState, input: SourceInputs) => SourceStep | null): Machines {
  return {
    ...machines,
    stepSource: (state, input) => differs(state, input) ?? machines.stepSource(state, input),
  };
}

function wrongTarget(differs: (state: TargetState, input: TargetInputs) => TargetStep | null): Machines {
  return {
    ...machines,
    stepTarget: (state, input) => differs(state, input) ?? machines.stepTarget(state, input),
  };
}

const hears = (input: SourceInputs | TargetInputs, type: string) =>
  input.type === 'received' && input.message.type === type;

const record = (decision: 'commit' | 'abort', { epoch }: { epoch: number }): CommitRecord => ({
  decision,
  epoch,
  by: 'rule',
  settled: false,
});

/** No host loses power. */
const quiet: Budget = { ...ordinary, powerLosses: [0, 0] };

function caught(name: string, mutant: Machines, expected: RegExp, budget: Budget = ordinary): void {
  test(name, () => {
    const { violation } = explore(budget, mutant);
    assert.ok(violation, 'no violation was found');
    const { what, trace } = violation;
    assert.ok(expected.test(what), `${what}:\n${trace.join('\n')}`);
  });
}

caught(
  'the target runs it, then records it',
  wrongTarget((state, input) =>
    state.at === 'prepared' && hears(input, 'commit')
      ? {
          state: { ...state, at: 'starting' },
          outputs: [{ type: 'run' }, { type: 'write', record: record('commit', state) }],
        }
      : null,
  ),
  /before its record/,
);

caught(
  'the target gives up after it has said that it is prepared',
  wrongTarget((state, input) =>
    state.at === 'prepared' && input.type === 'cut'
      ? machines.stepTarget(state, { type: 'received', message: { type: 'abort' } })
      : null,
  ),
  /lost|no copy/,
);

caught(
  'the target answers that it has given up, and keeps the copy',
  wrongTarget((state, input) =>
    state.at === 'prepared' && hears(input, 'withdraw')
      ? { state, outputs: [{ type: 'send', message: { type: 'aborted' } }] }
      : null,
  ),
  /two copies|outlived/,
);

caught(
  'the target that lost its copy after COMMIT says that it never ran',
  {
    ...machines,
    recoverTarget: (recorded, process) =>
      machines.recoverTarget(process === 'none' ? null : recorded, process),
    stepTarget: (state, input) =>
      state.at === 'unknown' && input.type === 'received'
        ? { state, outputs: [{ type: 'send', message: { type: 'aborted' } }] }
        : machines.stepTarget(state, input),
  },
  /not agreed/,
);

caught(
  'the source lets it run when no answer comes',
  wrongSource((state, input) =>
    state.at === 'committed' && input.type === 'late'
      ? { state: { ...state, at: 'kept' }, outputs: [{ type: 'release' }] }
      : null,
  ),
  /two copies|not agreed/,
  quiet,
);

caught(
  'the source says commit before its record is on the disk',
  wrongSource((state, input) =>
    state.at === 'holding' && input.type === 'held'
      ? {
          state: { ...state, at: 'recording' },
          outputs: [
            { type: 'send', message: { type: 'commit', epoch: state.epoch } },
            { type: 'write', record: record('commit', state) },
          ],
        }
      : null,
  ),
  /two copies|not agreed|outlived/,
);

caught(
  'the source ends its copy as soon as it has committed',
  wrongSource((state, input) =>
    state.at === 'recording' && input.type === 'written'
      ? {
          state: { ...state, at: 'ending' },
          outputs: [{ type: 'send', message: { type: 'commit', epoch: state.epoch } }, { type: 'end' }],
        }
      : null,
  ),
  /lost|no copy/,
);

caught(
  'the source takes its COMMIT back, lets it run, and records that after',
  wrongSource((state, input) =>
    state.at === 'recording' && input.type === 'late'
      ? {
          state: { ...state, at: 'kept', settled: true },
          outputs: [
            { type: 'release' },
            { type: 'write', record: { ...record('abort', state), settled: true } },
          ],
        }
      : null,
  ),
  /outlived/,
);

caught(
  'the source stays silent when the target asks what was decided',
  wrongSource((state, input) =>
    state.at === 'kept' && (input.type === 'linked' || hears(input, 'prepared'))
      ? { state, outputs: [] }
      : null,
  ),
  /holds a copy in the end/,
  quiet,
);

caught(
  'a source without a COMMIT record presumes that it had one',
  {
    ...machines,
    recoverSource: (recorded) =>
      machines.recoverSource(
        recorded !== null && recorded !== 'damaged' && recorded.decision === 'open' && recorded.by === 'rule'
          ? { ...recorded, decision: 'commit', epoch: 1 }
          : recorded,
        'held',
      ),
  },
  /outlived|lost|no copy|stands still/,
  { ...quiet, freezes: 1 },
);

caught(
  'a source with a COMMIT record presumes that it gave up',
  {
    ...machines,
    recoverSource: (recorded, process) =>
      machines.recoverSource(
        recorded !== null && recorded !== 'damaged' ? { ...recorded, decision: 'open' } : recorded,
        process,
      ),
  },
  /two copies|not agreed/,
  quiet,
);

caught(
  'the holder lets go whatever the journal says',
  { ...machines, afterAgent: () => 'release' },
  /two copies|outlived/,
);

caught(
  'the holder believes an ABORT that is not on the disk',
  { ...machines, afterAgent: (recorded) => (machines.afterAgent(recorded) === 'keep' ? 'keep' : 'release') },
  /outlived/,
);

caught(
  'the holder keeps holding what was never committed',
  {
    ...machines,
    afterAgent: () => 'keep',
    recoverSource: (recorded, process) => withoutRelease(recorded, process),
  },
  /stands still/,
);

caught(
  'a new agent believes a journal that is not on the disk',
  { ...machines, syncsFirst: false },
  /outlived|lost|not agreed|before its record/,
);

const oldPrepared = (state: SourceState, input: SourceInputs): SourceStep | null =>
  state.at === 'asked' && hears(input, 'prepared')
    ? { state: { ...state, at: 'holding' }, outputs: [{ type: 'hold' }] }
    : null;

const anyCommit = (state: TargetState, input: TargetInputs): TargetStep | null =>
  state.at === 'prepared' && hears(input, 'commit')
    ? { state: { ...state, at: 'recording' }, outputs: [{ type: 'write', record: record('commit', state) }] }
    : null;

caught(
  'neither side looks at the epoch: a copy of an earlier freeze is run',
  { ...wrongSource(oldPrepared), stepTarget: wrongTarget(anyCommit).stepTarget },
  /outlived/,
);

test('either side that looks at the epoch is enough', () => {
  assert.is(explore(quiet, wrongSource(oldPrepared)).violation, null);
  assert.is(explore(quiet, wrongTarget(anyCommit)).violation, null);
});

function withoutRelease(...given: Parameters<Machines['recoverSource']>): SourceStep {
  const { state, outputs } = machines.recoverSource(...given);
  return { state, outputs: outputs.filter(({ type }) => type !== 'release') };
}

test.run();
