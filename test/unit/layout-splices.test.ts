import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { changeOf } from '../../shared/layout.js';
import { changeOfSplices, splice, splicesOf } from '../../shared/layout-splices.js';
import type { Mapping } from '../../shared/state/memory.js';
import { mapping } from './support/mappings.js';
import { generator } from './support/protocol.js';

const refused = (before: Mapping[], splices: Parameters<typeof splice>[1], why: RegExp) =>
  assert.throws(() => splice(before, splices), why);

test('equal layouts have no difference', () => {
  assert.equal(splicesOf([mapping(1, 2)], [mapping(1, 2)]), []);
  assert.equal(splicesOf([], []), []);
});

test('one new mapping among many is all that travels', () => {
  const many = Array.from({ length: 1000 }, (_, i) => mapping(i * 4, 1));
  const extra = mapping(2002, 1);
  const next = [...many.slice(0, 501), extra, ...many.slice(501)];
  assert.equal(splicesOf(many, next), [{ at: 501, remove: 0, insert: [extra] }]);
  assert.equal(splicesOf(next, many), [{ at: 501, remove: 1, insert: [] }]);
});

test('every attribute of a mapping counts', () => {
  for (const other of [
    { protection: 1 },
    { label: 'x' },
    { sealed: true },
    { advice: ['dd'] },
    { noReserve: true },
    { growsDown: true },
    { accounted: true },
  ] as Partial<Mapping>[]) {
    assert.is(splicesOf([mapping(1, 2)], [mapping(1, 2, other)]).length, 1, JSON.stringify(other));
  }
});

/** Mappings with holes between them, some of each sort. */
function someLayout(random: (below: number) => number): Mapping[] {
  const layout: Mapping[] = [];
  for (let at = 0; at < 200; at += 1 + random(3)) {
    const pages = 1 + random(4);
    layout.push(mapping(at, pages, random(3) === 0 ? { protection: 1 } : {}));
    at += pages - 1;
  }
  return layout;
}

test('from any layout to any other', () => {
  const below = generator(17);
  for (let i = 0; i < 300; i += 1) {
    const [before, next] = [someLayout(below), someLayout(below)];
    const splices = splicesOf(before, next);
    assert.equal(splice(before, splices), next);
    const [all, parts] = [changeOf(before, next), changeOfSplices(before, splices)];
    for (const what of ['unmap', 'map', 'adjust'] as const) assert.equal(parts[what], all[what], what);
  }
});

test('splices that do not fit are refused', () => {
  const two = [mapping(1, 1), mapping(4, 1)];
  refused(two, [{ at: 3, remove: 0, insert: [] }], /names no mappings/);
  refused(two, [{ at: 1, remove: 2, insert: [] }], /names no mappings/);
  refused(
    two,
    [
      { at: 1, remove: 1, insert: [] },
      { at: 0, remove: 1, insert: [] },
    ],
    /names no mappings/,
  );
  refused(two, [{ at: 1, remove: 0, insert: [mapping(1, 2)] }], /overlap/);
  refused(two, [{ at: 0, remove: 0, insert: [mapping(9, 1)] }], /overlap/);
});

test.run();
