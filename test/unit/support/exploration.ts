/** A small model checker: every world that can be reached, breadth first, each looked at once. */
import { completed, done, restarts, successors, synced } from './hand-over-events.js';
import {
  type Budget,
  begin,
  feedSource,
  feedTarget,
  type Machines,
  ownSteps,
  sourceSayings,
  targetSayings,
  type World,
} from './hand-over-world.js';

export interface Exploration {
  worlds: number;
  /** What is wrong with the nearest wrong world, and how one gets there; null where none is. */
  violation: { what: string; trace: string[] } | null;
  /** How often each end was seen, when all faults were over. */
  ends: Record<string, number>;
}

/** `check` says what is wrong with a world, or null. Stops at the first wrong one. */
export function explore(budget: Budget, under: Machines, most = 3_000_000): Exploration {
  const names = new Names();
  const first = begin(budget);
  const worlds = [first];
  const parents = [-1];
  const labels = [''];
  const known = new Set([names.of(first)]);
  const ends: Record<string, number> = {};
  const calm = new Map<string, string>();
  for (let i = 0; i < worlds.length; i += 1) {
    const world = worlds[i]!;
    const end = endOf(world, under, calm, names);
    const what = faultOf(world) ?? (end.startsWith('!') ? end.slice(1) : null);
    if (what) return { worlds: worlds.length, violation: { what, trace: traceOf(i, parents, labels) }, ends };
    ends[end] = (ends[end] ?? 0) + 1;
    for (const [label, next] of successors(world, under)) {
      const name = names.of(next);
      if (known.has(name)) continue;
      known.add(name);
      if (worlds.length >= most) throw new Error(`more than ${most} worlds`);
      worlds.push(next);
      parents.push(i);
      labels.push(label);
    }
  }
  return { worlds: worlds.length, violation: null, ends };
}

function traceOf(index: number, parents: readonly number[], labels: readonly string[]): string[] {
  const trace: string[] = [];
  for (let i = index; i >= 0; i = parents[i]!) if (labels[i]) trace.unshift(labels[i]!);
  return trace;
}

/** What may never be, whatever has happened. */
function faultOf({ facts, source, target, sourceProcess, targetProcess }: World): string | null {
  const interfered = facts.decided || facts.thawed;
  if (sourceProcess === 'running' && targetProcess === 'running' && !interfered) return 'two copies run';
  if (facts.ranOutdated && !interfered) return 'the target ran a copy that the source had outlived';
  if (facts.ranUnrecorded) return 'the target ran it before its record was on the disk';
  const kept = source.machine?.at === 'kept' || decisionOf(source.disk) === 'abort';
  // A person may take back what the target has lost.
  const byPerson = facts.decided || source.machine?.by === 'person' || byOf(source.disk) === 'person';
  if (kept && decisionOf(target.disk) === 'commit' && !byPerson && !facts.unwritten)
    return 'the decision is not agreed';
  const lost = sourceProcess === 'gone' && (targetProcess === 'none' || targetProcess === 'partial');
  if (lost && !facts.excused && !facts.decided) return 'the process is lost';
  return null;
}

function decisionOf(record: World['source']['disk']): string | null {
  return record === null || record === 'damaged' ? null : record.decision;
}

function byOf(record: World['source']['disk']): string | null {
  return record === null || record === 'damaged' ? null : record.by;
}

/** Where it ends when all faults are over, both agents are back, and messages arrive once and in order. */
function endOf(world: World, under: Machines, seen: Map<string, string>, names: Names): string {
  let now: World = {
    ...world,
    toTarget: 0,
    toSource: 0,
    left: { ...world.left, freezes: 1, kills: 0, failures: 0, thaws: 0, decisions: 0, powerLosses: [0, 0] },
  };
  const name = names.of(now);
  const before = seen.get(name);
  if (before !== undefined) return before;
  const run = () => {
    now = settleDown(now, under);
  };
  run();
  const feed = (side: 'source' | 'target', type: 'linked' | 'late') => {
    now = side === 'source' ? feedSource(now, { type }, under) : feedTarget(now, { type }, under);
    run();
  };
  feed('source', 'linked');
  feed('target', 'linked');
  if (now.source.machine!.at === 'open') {
    now = { ...now, sourceProcess: 'frozen', freeze: now.freeze + 1 };
    now = feedSource(now, { type: 'frozen' }, under);
    run();
  }
  // Whoever still waits gives up, or asks once more.
  feed('source', 'late');
  feed('target', 'late');
  const end = judge(now);
  seen.set(name, end);
  return end;
}

/** Everything that is due happens, until nothing is. */
function settleDown(from: World, under: Machines): World {
  let world = from;
  for (let steps = 0; steps < 1000; steps += 1) {
    const [next] = [
      ...ownSteps(world, under),
      ...synced(world, 'source'),
      ...synced(world, 'target'),
      ...restarts(world, under),
    ];
    if (next) world = next[1];
    else if (world.completing > 0) world = feedTarget(completed(world), done(world), under);
    else if (world.toTarget) {
      const i = lowest(world.toTarget);
      const input = { type: 'received', message: sourceSayings[i]! } as const;
      world = feedTarget({ ...world, toTarget: world.toTarget & ~(1 << i) }, input, under);
    } else if (world.toSource) {
      const i = lowest(world.toSource);
      const input = { type: 'received', message: targetSayings[i]! } as const;
      world = feedSource({ ...world, toSource: world.toSource & ~(1 << i) }, input, under);
    } else return world;
  }
  return { ...world, left: { ...world.left, freezes: -1 } };
}

function lowest(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}

/** An end that is none begins with an exclamation mark. */
function judge({ source, target, sourceProcess, targetProcess, facts, left }: World): string {
  if (left.freezes < 0) return '!they talk without an end';
  const here = sourceProcess === 'running';
  const there = targetProcess === 'running';
  if (here && there) {
    if (!facts.decided) return '!two copies run in the end';
    return facts.told ? 'two, by persons, who were told' : '!two copies run and nobody is told';
  }
  const { doubt } = source.machine!;
  const mayBeLost = facts.excused || facts.torn || decisionOf(target.disk) === 'commit';
  if (sourceProcess === 'held' && ((doubt === 'lost-there' && mayBeLost) || doubt === 'unknown'))
    return `held for a person to decide: ${doubt}`;
  if (sourceProcess === 'held' || sourceProcess === 'frozen') return '!the source stands still in the end';
  if (targetProcess === 'complete' || targetProcess === 'partial')
    return '!the target holds a copy in the end';
  if (!here && !there) {
    if (facts.excused) return 'lost with the host that had it';
    return facts.decided ? 'lost, by persons' : '!no copy runs in the end';
  }
  if (!facts.decided && !(source.machine!.settled && target.machine!.settled))
    return '!a record is never settled';
  return here ? 'runs at the source' : 'runs at the target';
}

/** A short name for each world: equal worlds have equal names. */
class Names {
  readonly #numbers = new Map<string, number>();
  readonly #known = new WeakMap<object, number>();

  of(world: World): string {
    const { source, target, facts, left } = world;
    const parts = [
      source.machine,
      source.queue,
      source.due,
      source.syncing,
      source.cache,
      source.disk,
    ].concat(
      target.machine as never,
      target.queue as never,
      target.due as never,
      target.syncing as never,
      target.cache,
      target.disk,
      facts as never,
      left as never,
    );
    const {
      sourceProcess,
      targetProcess,
      copy,
      completing,
      holderDue,
      freeze,
      outdated,
      toTarget,
      toSource,
    } = world;
    const small = [copy, completing, Number(holderDue), freeze, outdated, toTarget, toSource];
    return `${sourceProcess[0]}${targetProcess[0]}${small.join()},${parts.map((part) => this.#number(part)).join()}`;
  }

  #number(part: unknown): number {
    const isObject = typeof part === 'object' && part !== null;
    const known = isObject ? this.#known.get(part) : undefined;
    if (known !== undefined) return known;
    const text = JSON.stringify(part);
    const number = this.#numbers.get(text) ?? this.#numbers.size;
    this.#numbers.set(text, number);
    if (isObject) this.#known.set(part, number);
    return number;
  }
}
