/** All that may happen next in the world of a hand-over: messages, restarts, faults, persons. */
import type { Recorded } from '../../../shared/commit/index.js';
import {
  feedSource,
  feedTarget,
  letRun,
  type Machines,
  ownSteps,
  type Successor,
  sourceSayings,
  targetSayings,
  type World,
} from './hand-over-world.js';

/** What one side does by itself comes first: nobody else can tell when exactly it does. Only faults come in between. */
export function successors(world: World, under: Machines): Successor[] {
  const own = ownSteps(world, under);
  return own.length > 0 ? [...own, ...faults(world)] : [...events(world, under), ...faults(world)];
}

function events(world: World, under: Machines): Successor[] {
  return [
    ...sourceEvents(world, under),
    ...targetEvents(world, under),
    ...restarts(world, under),
    ...persons(world, under),
    ...(world.left.cleans ? cleaned(world, under) : []),
  ];
}

function sourceEvents(world: World, under: Machines): Successor[] {
  const { machine } = world.source;
  if (!machine) return [];
  const found: Successor[] = [...synced(world, 'source')];
  const feed = (label: string, input: Parameters<typeof feedSource>[1], before = world) =>
    found.push([`source: ${label}`, feedSource(before, input, under)]);
  targetSayings.forEach((message, i) => {
    if (world.toSource & (1 << i)) feed(`hears ${saying(message)}`, { type: 'received', message });
  });
  feed('linked', { type: 'linked' });
  feed('cut', { type: 'cut' });
  feed('late', { type: 'late' });
  if (machine.at === 'open' && world.sourceProcess === 'running' && world.left.freezes > 0) {
    const left = { ...world.left, freezes: world.left.freezes - 1 };
    feed(
      'freezes',
      { type: 'frozen' },
      { ...world, left, freeze: world.freeze + 1, sourceProcess: 'frozen' },
    );
  }
  if (machine.at === 'asked' && world.left.freezes > 0) feed('tries again', { type: 'retry' });
  if (world.sourceProcess === 'held' && world.left.thaws > 0 && machine.at === 'committed') {
    const left = { ...world.left, thaws: world.left.thaws - 1 };
    const facts = { ...world.facts, thawed: true };
    feed('is thawed', { type: 'thawed' }, { ...letRun(world), left, facts });
  }
  return found;
}

function targetEvents(world: World, under: Machines): Successor[] {
  const { machine } = world.target;
  if (!machine) return [];
  const found: Successor[] = [...synced(world, 'target')];
  const feed = (label: string, input: Parameters<typeof feedTarget>[1], before = world) =>
    found.push([`target: ${label}`, feedTarget(before, input, under)]);
  sourceSayings.forEach((message, i) => {
    if (world.toTarget & (1 << i)) feed(`hears ${saying(message)}`, { type: 'received', message });
  });
  feed('linked', { type: 'linked' });
  feed('cut', { type: 'cut' });
  feed('late', { type: 'late' });
  if (world.completing > 0)
    found.push(['target: completed', feedTarget(completed(world), done(world), under)]);
  if (world.left.kills > 0 && world.targetProcess === 'complete') {
    const left = { ...world.left, kills: world.left.kills - 1 };
    feed('its copy is killed', { type: 'gone' }, { ...withoutCopy(world), left });
  }
  return found;
}

export function done(world: World) {
  return { type: 'completed', epoch: world.completing } as const;
}

export function completed(world: World): World {
  return { ...world, completing: 0, copy: world.completing, targetProcess: 'complete' };
}

/** The write under way ends, one way or the other. */
export function synced(world: World, side: 'source' | 'target'): Successor[] {
  const host = world[side];
  if (!host.syncing) return [];
  const { decision } = host.syncing;
  const after = (type: 'written' | 'unwritten', disk: Recorded, left = world.left): World =>
    ({
      ...world,
      left,
      facts:
        type === 'written'
          ? world.facts
          : {
              ...world.facts,
              unwritten: true,
              // It cannot take over what is nowhere else any more.
              excused: world.facts.excused || (side === 'target' && world.sourceProcess === 'gone'),
            },
      [side]: { ...host, syncing: null, disk, due: [...host.due, { type, decision }] },
    }) as World;
  const found: Successor[] = [[`${side}: ${decision} is on the disk`, after('written', host.syncing)]];
  if (world.left.failures > 0) {
    const left = { ...world.left, failures: world.left.failures - 1 };
    found.push([`${side}: ${decision} fails, but is there`, after('unwritten', host.syncing, left)]);
    found.push([`${side}: ${decision} fails`, after('unwritten', host.disk, left)]);
  }
  return found;
}

export function restarts(world: World, under: Machines): Successor[] {
  const found: Successor[] = [];
  const { source, target } = world;
  if (world.holderDue) {
    const does = under.afterAgent(source.cache);
    const lets = does !== 'keep' && world.sourceProcess === 'held';
    const disk = does === 'sync, release' ? source.cache : source.disk;
    const after = { ...world, holderDue: false, source: { ...source, disk } };
    found.push(['the holder looks', lets ? letRun(after) : after]);
  } else if (!source.machine) {
    const process = world.sourceProcess === 'frozen' ? 'running' : world.sourceProcess;
    const { state, outputs } = under.recoverSource(source.cache, process);
    const disk = under.syncsFirst ? source.cache : source.disk;
    found.push([
      'source: restarts',
      { ...world, source: { ...source, machine: state, queue: outputs, disk, syncing: null } },
    ]);
  }
  if (!target.machine) {
    const process = world.targetProcess === 'running' ? 'running' : 'none';
    const { state, outputs } = under.recoverTarget(target.cache, process);
    const disk = under.syncsFirst ? target.cache : target.disk;
    found.push([
      'target: restarts',
      { ...world, target: { ...target, machine: state, queue: outputs, disk, syncing: null } },
    ]);
  }
  return found;
}

function faults(world: World): Successor[] {
  const found: Successor[] = [];
  const dead = { machine: null, queue: [], due: [], syncing: null };
  const { source, target, left } = world;
  if (source.machine) {
    const stopped = world.sourceProcess === 'frozen' ? letRun(world) : world;
    const holderDue = world.sourceProcess === 'held';
    found.push(['the source agent is killed', { ...stopped, holderDue, source: { ...source, ...dead } }]);
  }
  if (target.machine && left.kills > 0) {
    const rest = { ...left, kills: left.kills - 1 };
    const after = { ...world, left: rest, target: { ...target, ...dead }, completing: 0 };
    if (world.targetProcess === 'running') found.push(['the shepherd is killed', after]);
    else found.push(['the shepherd is killed', withoutCopy(after)]);
  }
  const [ofSource, ofTarget] = left.powerLosses;
  if (ofSource > 0) {
    const after: World = { ...world, left: { ...left, powerLosses: [ofSource - 1, ofTarget] } };
    for (const disk of remains(source)) {
      const host = { ...source, ...dead, disk, cache: disk };
      const bare: World = { ...after, holderDue: false, sourceProcess: 'gone', source: host };
      const safe = recorded(disk) === 'commit' && world.copy > world.outdated && !isGivenBack(world);
      const excused = world.sourceProcess !== 'gone' && world.targetProcess !== 'running' && !safe;
      found.push([`the source's host loses power (${named(disk)})`, noted(bare, excused, disk)]);
    }
  }
  if (ofTarget > 0) {
    const after: World = { ...world, left: { ...left, powerLosses: [ofSource, ofTarget - 1] } };
    for (const disk of remains(target)) {
      const host = { ...target, ...dead, disk, cache: disk };
      const bare: World = { ...after, targetProcess: 'none', copy: 0, completing: 0, target: host };
      found.push([`the target's host loses power (${named(disk)})`, noted(bare, hadIt(world), disk)]);
    }
  }
  return found;
}

/** A person wanted it back, or the target could not take it: it is the source's again. */
function isGivenBack({ toTarget, target }: World): boolean {
  return (
    target.machine?.at === 'refusing' ||
    target.due.some(({ type }) => type === 'unwritten') ||
    sourceSayings.some(({ type }, i) => type === 'withdraw' && toTarget & (1 << i))
  );
}

/** The target has the process: it wrote that down, though perhaps nobody would ever have known. */
function hadIt(world: World): boolean {
  const { cache } = world.target;
  if (world.targetProcess === 'none' || world.targetProcess === 'partial') return false;
  return recorded(cache) === 'commit' || world.targetProcess === 'running' || world.sourceProcess === 'gone';
}

function withoutCopy(world: World): World {
  const facts = { ...world.facts, excused: world.facts.excused || hadIt(world) };
  return { ...world, targetProcess: 'none', copy: 0, facts };
}

function noted(world: World, excused: boolean, disk: Recorded): World {
  const facts = {
    ...world.facts,
    excused: world.facts.excused || excused,
    torn: world.facts.torn || disk === 'damaged',
  };
  return { ...world, facts };
}

/** What a power loss leaves of a journal: the last write is there, or not, or torn. */
function remains({ cache, disk }: { cache: Recorded; disk: Recorded }): Recorded[] {
  return JSON.stringify(cache) === JSON.stringify(disk) ? [disk] : [cache, disk, 'damaged'];
}

function recorded(record: Recorded): string | null {
  return record === null || record === 'damaged' ? record : record.decision;
}

function named(record: Recorded): string {
  return recorded(record) ?? 'no record';
}

function persons(world: World, under: Machines): Successor[] {
  const found: Successor[] = [];
  const [atSource, atTarget] = [world.source.machine?.at, world.target.machine?.at];
  for (const type of ['resume', 'abort'] as const) {
    if (atSource === 'committed') {
      // That the copy here is ended where the other one is lost, nobody else would do.
      const gaveUp = type === 'resume' && world.source.machine!.doubt === 'lost-there';
      const facts = { ...world.facts, excused: world.facts.excused || gaveUp };
      const before = { ...world, facts };
      found.push([`source: a person asks to ${type}`, feedSource(before, { type, alone: false }, under)]);
    }
    if (atTarget === 'prepared')
      found.push([`target: a person asks to ${type}`, feedTarget(world, { type, alone: false }, under)]);
    if (world.left.decisions === 0) continue;
    const left = { ...world.left, decisions: world.left.decisions - 1 };
    const before = { ...world, left, facts: { ...world.facts, decided: true } };
    if (atSource === 'committed')
      found.push([`source: a person decides to ${type}`, feedSource(before, { type, alone: true }, under)]);
    if (atTarget === 'prepared')
      found.push([`target: a person decides to ${type}`, feedTarget(before, { type, alone: true }, under)]);
  }
  return found;
}

/** Age has come over a settled record: whoever is asked then has none. */
function cleaned(world: World, under: Machines): Successor[] {
  const found: Successor[] = [];
  const { source, target } = world;
  if (isSettled(source.disk) && (source.machine?.at === 'kept' || source.machine?.at === 'moved')) {
    const { state } = under.recoverSource(null, 'gone');
    found.push([
      'source: is cleaned up',
      { ...world, source: { ...source, machine: state, cache: null, disk: null } },
    ]);
  }
  if (isSettled(target.disk) && (target.machine?.at === 'aborted' || target.machine?.at === 'running')) {
    const { state } = under.recoverTarget(null, 'none');
    found.push([
      'target: is cleaned up',
      { ...world, target: { ...target, machine: state, cache: null, disk: null } },
    ]);
  }
  return found;
}

function isSettled(record: Recorded): boolean {
  return record !== null && record !== 'damaged' && record.settled;
}

function saying(message: { type: string; epoch?: number }): string {
  return message.epoch === undefined ? message.type : `${message.type} ${message.epoch}`;
}
