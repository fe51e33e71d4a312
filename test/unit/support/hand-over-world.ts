/**
 * Two hosts around the hand-over, small enough to explore whole. Messages are a set that never shrinks: what was said
 * once may arrive at any time, any number of times, in any order, or never. Agents die and come back as often as they
 * like; what is rarer has a budget, so that the world stays finite.
 */
import {
  type CommitRecord,
  type FromSource,
  type FromTarget,
  openRecord,
  type Recorded,
} from '../../../shared/commit/index.js';
import { afterAgent, recoverSource, stepSource } from '../../../shared/commit/source-side.js';
import {
  newSource,
  type SourceInput,
  type SourceOutput,
  type SourceState,
} from '../../../shared/commit/source-state.js';
import {
  newTarget,
  recoverTarget,
  stepTarget,
  type TargetInput,
  type TargetOutput,
  type TargetState,
} from '../../../shared/commit/target-side.js';

/** The machines under test: mutants replace some. */
export interface Machines {
  stepSource: typeof stepSource;
  recoverSource: typeof recoverSource;
  stepTarget: typeof stepTarget;
  recoverTarget: typeof recoverTarget;
  afterAgent: typeof afterAgent;
  /** A new agent brings the journal to the disk before it believes it. */
  syncsFirst: boolean;
}

export const machines: Machines = {
  stepSource,
  recoverSource,
  stepTarget,
  recoverTarget,
  afterAgent,
  syncsFirst: true,
};

/** How often what may happen. Agents die, links are cut and messages go astray without a limit. */
export interface Budget {
  /** Of the source's host, and of the target's. */
  powerLosses: readonly [number, number];
  /** Freezes within the migration. */
  freezes: number;
  /** Shepherds that are killed, copies that are (by the kernel when memory is short). */
  kills: number;
  /** Records that cannot be written, holders that cannot hold. */
  failures: number;
  /** A SIGCONT of somebody to the held source. */
  thaws: number;
  /** A person decides alone. */
  decisions: number;
  /** Settled records are cleaned up. */
  cleans: boolean;
}

export const ordinary: Budget = {
  powerLosses: [1, 1],
  freezes: 2,
  kills: 0,
  failures: 0,
  thaws: 0,
  decisions: 0,
  cleans: false,
};

/** What runs on a host besides its process. A null machine: no agent there, and no shepherd. */
interface Host<State, Input, Output> {
  readonly machine: State | null;
  /** Outputs still to be performed. */
  readonly queue: readonly Output[];
  /** What became of those that were. */
  readonly due: readonly Input[];
  /** The write under way. */
  readonly syncing: CommitRecord | null;
  /** What a reader sees, and what a power loss leaves. */
  readonly cache: Recorded;
  readonly disk: Recorded;
}

export interface World {
  readonly source: Host<SourceState, SourceInput, SourceOutput>;
  readonly target: Host<TargetState, TargetInput, TargetOutput>;
  /** 'frozen': by the agent, which its death undoes. */
  readonly sourceProcess: 'running' | 'frozen' | 'held' | 'gone';
  readonly targetProcess: 'none' | 'partial' | 'complete' | 'running';
  /** The freeze whose copy is complete on the target; 0 for none. */
  readonly copy: number;
  /** The freeze that is being completed there; 0 for none. */
  readonly completing: number;
  /** The agent of the source died, and the holder has not looked yet. */
  readonly holderDue: boolean;
  /** The last freeze, and the last one after which the source has run: copies of it are outdated. */
  readonly freeze: number;
  readonly outdated: number;
  /** Sets of bits: indices into `sayings`. */
  readonly toTarget: number;
  readonly toSource: number;
  readonly left: Budget;
  readonly facts: Facts;
}

/** What has happened, for the invariants. */
export interface Facts {
  /** The host that had it died with it. */
  readonly excused: boolean;
  /** A record was torn by a power loss. */
  readonly torn: boolean;
  /** A person decided alone. */
  readonly decided: boolean;
  readonly thawed: boolean;
  /** A record could not be written. */
  readonly unwritten: boolean;
  /** The target let an outdated copy run. */
  readonly ranOutdated: boolean;
  /** It ran there before its record was on the disk. */
  readonly ranUnrecorded: boolean;
  /** Somebody was told of two copies, or of none. */
  readonly told: boolean;
}

export type Successor = readonly [label: string, world: World];

const host = <State, Input, Output>(machine: State): Host<State, Input, Output> => ({
  machine,
  queue: [],
  due: [],
  syncing: null,
  cache: openRecord,
  disk: openRecord,
});

export function begin(left: Budget): World {
  return {
    source: host(newSource),
    target: host(newTarget),
    sourceProcess: 'running',
    targetProcess: 'partial',
    copy: 0,
    completing: 0,
    holderDue: false,
    freeze: 0,
    outdated: 0,
    toTarget: 0,
    toSource: 0,
    left,
    facts: {
      excused: false,
      torn: false,
      decided: false,
      thawed: false,
      unwritten: false,
      ranOutdated: false,
      ranUnrecorded: false,
      told: false,
    },
  };
}

const epochs = [1, 2, 3] as const;
export const sourceSayings: readonly FromSource[] = [
  ...epochs.flatMap((epoch) => (['prepare', 'reopen', 'commit'] as const).map((type) => ({ type, epoch }))),
  { type: 'withdraw' },
  { type: 'abort' },
  { type: 'over' },
];
export const targetSayings: readonly FromTarget[] = [
  ...epochs.map((epoch) => ({ type: 'prepared', epoch }) as const),
  { type: 'running' },
  { type: 'aborted' },
  { type: 'lost' },
  { type: 'unknown' },
];

function bitOf(sayings: readonly (FromSource | FromTarget)[], message: FromSource | FromTarget): number {
  const text = JSON.stringify(message);
  const index = sayings.findIndex((saying) => JSON.stringify(saying) === text);
  if (index < 0) throw new Error(`a message the world does not know: ${text}`);
  return 1 << index;
}

/** An input comes to a side. */
export function feedSource(world: World, input: SourceInput, { stepSource }: Machines): World {
  const { state, outputs } = stepSource(world.source.machine!, input);
  return {
    ...world,
    source: { ...world.source, machine: state, queue: [...world.source.queue, ...outputs] },
  };
}

export function feedTarget(world: World, input: TargetInput, { stepTarget }: Machines): World {
  const { state, outputs } = stepTarget(world.target.machine!, input);
  const target = { ...world.target, machine: state, queue: [...world.target.queue, ...outputs] };
  // A copy that follows the source again is not complete any more.
  const reopened = state.at === 'building' && world.targetProcess === 'complete';
  return reopened ? { ...world, target, targetProcess: 'partial', copy: 0 } : { ...world, target };
}

/** The next thing a side has to do by itself, in its possible outcomes; none where it waits. */
export function ownSteps(world: World, under: Machines): Successor[] {
  const { source, target } = world;
  const [sourceDue] = source.due;
  if (sourceDue)
    return [
      ['', feedSource({ ...world, source: { ...source, due: source.due.slice(1) } }, sourceDue, under)],
    ];
  const [targetDue] = target.due;
  if (targetDue)
    return [
      ['', feedTarget({ ...world, target: { ...target, due: target.due.slice(1) } }, targetDue, under)],
    ];
  // Writes are brought to the disk one after the other.
  const [sourceNext] = source.queue;
  if (sourceNext && !(sourceNext.type === 'write' && source.syncing))
    return performSource({ ...world, source: { ...source, queue: source.queue.slice(1) } }, sourceNext);
  const [targetNext] = target.queue;
  if (targetNext && !(targetNext.type === 'write' && target.syncing))
    return performTarget({ ...world, target: { ...target, queue: target.queue.slice(1) } }, targetNext);
  return [];
}

function performSource(world: World, output: SourceOutput): Successor[] {
  const { source, facts, left } = world;
  const dueWith = (input: SourceInput) => ({ ...source, due: [...source.due, input] });
  switch (output.type) {
    case 'send':
      return [['', { ...world, toTarget: world.toTarget | bitOf(sourceSayings, output.message) }]];
    case 'write':
      return [['', { ...world, source: { ...source, cache: output.record, syncing: output.record } }]];
    case 'say':
      return [['', { ...world, facts: { ...facts, told: facts.told || contradicts(output.notice) } }]];
    case 'hold': {
      if (world.sourceProcess === 'gone') return [['', { ...world, source: dueWith({ type: 'ended' }) }]];
      const held: Successor = ['', { ...world, sourceProcess: 'held', source: dueWith({ type: 'held' }) }];
      if (left.failures === 0 || world.sourceProcess === 'held') return [held];
      const spent = { ...left, failures: left.failures - 1 };
      return [held, ['it cannot be held', { ...world, left: spent, source: dueWith({ type: 'unheld' }) }]];
    }
    case 'release':
      return [['', letRun(world)]];
    case 'end':
      return [['', { ...world, sourceProcess: 'gone', source: dueWith({ type: 'ended' }) }]];
  }
}

/** What the process does from here on is in no copy. */
export function letRun(world: World): World {
  if (world.sourceProcess === 'gone' || world.sourceProcess === 'running') return world;
  return { ...world, sourceProcess: 'running', outdated: world.freeze };
}

function performTarget(world: World, output: TargetOutput): Successor[] {
  const { target, facts } = world;
  const dueWith = (input: TargetInput) => ({ ...target, due: [...target.due, input] });
  switch (output.type) {
    case 'send':
      return [['', { ...world, toSource: world.toSource | bitOf(targetSayings, output.message) }]];
    case 'write':
      return [['', { ...world, target: { ...target, cache: output.record, syncing: output.record } }]];
    case 'say':
      return [['', { ...world, facts: { ...facts, told: facts.told || contradicts(output.notice) } }]];
    case 'complete':
      return [['', { ...world, completing: output.epoch, targetProcess: 'partial', copy: 0 }]];
    case 'discard':
      return [['', { ...world, targetProcess: 'none', copy: 0, completing: 0 }]];
    case 'run': {
      if (world.targetProcess !== 'complete') return [['', { ...world, target: dueWith({ type: 'gone' }) }]];
      const ranOutdated = facts.ranOutdated || world.copy <= world.outdated;
      const recorded = typeof target.disk === 'object' && target.disk?.decision === 'commit';
      return [
        [
          '',
          {
            ...world,
            targetProcess: 'running',
            target: dueWith({ type: 'started' }),
            facts: { ...facts, ranOutdated, ranUnrecorded: facts.ranUnrecorded || !recorded },
          },
        ],
      ];
    }
  }
}

function contradicts(notice: string): boolean {
  return notice === 'two' || notice === 'none';
}
