// time limit: 600 s
/**
 * Every interleaving of the hand-over: each test allows some faults and looks at all worlds that they lead to. Agents
 * that die and come back, and messages that are lost, late, repeated or out of order, are in every one, without a limit.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { nightly } from '../support/random.js';
import { explore } from './support/exploration.js';
import { type Budget, machines, ordinary } from './support/hand-over-world.js';

const none: readonly [number, number] = [0, 0];

/** Explores all of it. Returns the ends that there are, most of them first. */
function endsOf(changes: Partial<Budget>, least: number): Record<string, number> {
  const { worlds, violation, ends } = explore({ ...ordinary, ...changes }, machines);
  assert.is(violation, null, violation ? `${violation.what}:\n${violation.trace.join('\n')}` : '');
  assert.ok(worlds > least, `only ${worlds} worlds: something that should happen does not`);
  return ends;
}

const runs = ['runs at the source', 'runs at the target'];

test('agents die and come back, links are cut, freezes are repeated: it runs once, on one side', () => {
  const ends = endsOf({ powerLosses: none, freezes: 3 }, 10_000);
  assert.equal(Object.keys(ends).sort(), runs);
});

test('and each host loses power once: it is lost only with the host that had it', () => {
  const ends = endsOf({}, 50_000);
  assert.equal(Object.keys(ends).sort(), [
    'held for a person to decide: lost-there',
    'lost with the host that had it',
    ...runs,
  ]);
});

test('the source loses power twice: what it has committed arrives all the same', () => {
  const ends = endsOf({ powerLosses: [2, 0], freezes: 1 }, 3_000);
  assert.equal(Object.keys(ends).sort(), ['lost with the host that had it', ...runs]);
});

test('shepherds and copies are killed, records cannot be written, holders cannot hold', () => {
  const ends = endsOf({ powerLosses: none, kills: 1, failures: 1, freezes: 1 }, 5_000);
  assert.ok(runs.every((end) => ends[end]));
});

test('records fail on hosts that lose power', () => {
  endsOf({ failures: 1, freezes: 1 }, 20_000);
});

test('somebody else thaws the held source', () => {
  const ends = endsOf({ powerLosses: none, thaws: 2 }, 5_000);
  assert.equal(Object.keys(ends).sort(), runs);
});

test('persons decide alone: what contradicts the other side is told', () => {
  const ends = endsOf({ powerLosses: none, decisions: 2, freezes: 1 }, 3_000);
  assert.equal(Object.keys(ends).sort(), ['lost, by persons', ...runs, 'two, by persons, who were told']);
});

test('a person decides alone because the other host has died', () => {
  endsOf({ decisions: 1, freezes: 1, powerLosses: [1, 0] }, 10_000);
  endsOf({ decisions: 1, freezes: 1, powerLosses: [0, 1] }, 10_000);
  if (nightly) endsOf({ decisions: 1, freezes: 1 }, 100_000);
});

test('settled records are cleaned up at any moment, and old messages arrive after', () => {
  const ends = endsOf({ powerLosses: none, cleans: true }, 5_000);
  assert.equal(Object.keys(ends).sort(), runs);
});

test('records are cleaned up, and each host loses power', () => {
  endsOf({ cleans: true, freezes: 1 }, 20_000);
});

test.run();
