import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Kind, kinds, kindsInOrder } from '../../shared/kinds.js';
import { schemas } from '../../shared/state/index.js';

test('every kind comes once, after all that it needs', () => {
  const order = kindsInOrder();
  assert.equal([...order].sort(), Object.keys(kinds).sort());
  for (const [name, { after }] of Object.entries(kinds)) {
    for (const before of after) {
      assert.ok(order.indexOf(before as Kind) < order.indexOf(name as Kind), `${before} before ${name}`);
    }
  }
});

test('the order does not depend on the order of the declarations', () => {
  const reversed = Object.fromEntries(Object.entries(kinds).reverse());
  const order = kindsInOrder(reversed);
  for (const [name, { after }] of Object.entries(kinds)) {
    for (const before of after) assert.ok(order.indexOf(before as Kind) < order.indexOf(name as Kind));
  }
});

test('kinds that wait for each other are refused by name', () => {
  const declared = { a: { after: ['c'] }, b: { after: ['a'] }, c: { after: ['b'] } };
  assert.throws(() => kindsInOrder(declared), /wait for each other: a -> c -> b -> a/);
  assert.throws(() => kindsInOrder({ self: { after: ['self'] } }), /self -> self/);
});

test('wire numbers are these for ever', () => {
  const numbers = Object.fromEntries(Object.entries(kinds).map(([name, { number }]) => [name, number]));
  assert.equal(numbers, {
    process: 1,
    hostname: 2,
    files: 3,
    pipes: 4,
    directories: 5,
    memory: 6,
    limits: 7,
    threads: 8,
    signals: 9,
    timers: 10,
    credentials: 11,
  });
  assert.is(new Set(Object.values(numbers)).size, Object.keys(numbers).length);
});

test('every kind has a schema, and no schema is without a kind', () => {
  assert.equal(Object.keys(schemas).sort(), Object.keys(kinds).sort());
});

test.run();
