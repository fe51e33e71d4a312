import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { changeOf, isOfFile, isPrivate } from '../../shared/layout.js';
import { formatRange } from '../../shared/ranges.js';
import type { Mapping } from '../../shared/state/memory.js';
import { fileMapping, mapping, page } from './support/mappings.js';
import { generator } from './support/protocol.js';

const shown = (list: readonly { start: bigint; end: bigint }[]) => list.map(formatRange);
const pages = (first: number, count: number) => formatRange(mapping(first, count));

test('nothing changes, nothing is done', () => {
  const layout = [mapping(1, 4), fileMapping(8, 2, '/lib')];
  const { unmap, map, adjust, kept } = changeOf(layout, layout);
  assert.equal([unmap, map, adjust], [[], [], []]);
  assert.equal(shown(kept), shown(layout));
});

test('an empty address space is filled', () => {
  const layout = [mapping(1, 4), fileMapping(8, 2, '/lib')];
  assert.equal(changeOf([], layout), { unmap: [], map: layout, adjust: [], kept: [] });
});

test('a stack that grew gets its new part only', () => {
  const grows = { growsDown: true };
  const { unmap, map, kept } = changeOf([mapping(20, 5, grows)], [mapping(16, 9, grows)]);
  assert.equal(unmap, []);
  assert.equal(shown(map), [pages(16, 4)]);
  assert.equal(shown(kept), [pages(20, 5)]);
});

test('a heap that grew or shrank', () => {
  assert.equal(shown(changeOf([mapping(1, 4)], [mapping(1, 6)]).map), [pages(5, 2)]);
  assert.equal(shown(changeOf([mapping(1, 4)], [mapping(1, 3)]).unmap), [pages(4, 1)]);
});

test('protection and advice are adjusted piece by piece', () => {
  const before = [mapping(1, 10)];
  const next = [mapping(1, 3), mapping(4, 3, { protection: 1 }), mapping(7, 4, { advice: ['dd'] })];
  const { unmap, map, adjust } = changeOf(before, next);
  assert.equal([unmap, map], [[], []]);
  assert.equal(shown(adjust), [pages(4, 3), pages(7, 4)]);
  assert.equal([adjust[0]!.before.protection, adjust[0]!.after.protection], [3, 1]);
});

test('a file mapping stays only with the same file at the same offset', () => {
  const before = [fileMapping(10, 4, '/a', 2)];
  assert.equal(shown(changeOf(before, [fileMapping(12, 2, '/a', 4)]).kept), [pages(12, 2)]);
  for (const other of [fileMapping(10, 4, '/b', 2), fileMapping(10, 4, '/a', 3), mapping(10, 4)]) {
    const { unmap, map, kept } = changeOf(before, [other]);
    assert.equal([shown(unmap), map, kept], [[pages(10, 4)], [other], []]);
  }
});

test('a new piece of a file mapping has the offset of its place', () => {
  const { map } = changeOf([fileMapping(10, 2, '/a', 5)], [fileMapping(8, 6, '/a', 3)]);
  assert.equal(
    map.map(({ start, offset }) => [start / page, offset / page]),
    [
      [8n, 3n],
      [12n, 7n],
    ],
  );
});

test('what tells anonymous memory apart: growing down, no reserve', () => {
  for (const other of [{ growsDown: true }, { noReserve: true }]) {
    assert.equal(changeOf([mapping(1, 2)], [mapping(1, 2, other)]).kept, []);
  }
});

test("the kernel's own mappings are left where they are", () => {
  const vdso = mapping(50, 2, { kind: 'special', name: '[vdso]' });
  assert.equal(changeOf([vdso], []), { unmap: [], map: [], adjust: [], kept: [] });
  assert.equal(changeOf([], [vdso]), { unmap: [], map: [], adjust: [], kept: [] });
});

test('whose pages travel', () => {
  const answers = (['anonymous', 'file', 'shared', 'special'] as const).map((kind) => {
    const one = mapping(1, 1, { kind });
    return [isPrivate(one), isOfFile(one)];
  });
  assert.equal(answers, [
    [true, false],
    [true, true],
    [false, true],
    [false, false],
  ]);
});

/** What one page is: all that decides whether it may stay. Offsets as the file's page 0 would lie. */
function objectAt(layout: readonly Mapping[], number: number): { object: string; look: string } | undefined {
  const address = BigInt(number) * page;
  const found = layout.find(({ start, end }) => start <= address && address < end);
  if (!found || found.kind === 'special') return undefined;
  const { kind, name, growsDown, noReserve, offset, start, protection, advice } = found;
  const origin = isOfFile(found) ? offset - start : 0n;
  return { object: [kind, name, growsDown, noReserve, origin].join(), look: [protection, advice].join() };
}

function randomLayout(random: (below: number) => number): Mapping[] {
  const layout: Mapping[] = [];
  for (let at = random(3); at < 56; at += random(4)) {
    const count = 1 + random(6);
    const more: Partial<Mapping> = { protection: random(3), advice: random(4) === 0 ? ['dd'] : [] };
    const file = () => ({ ...fileMapping(at, count, random(2) ? '/a' : '/b', at + random(2)), ...more });
    layout.push(random(3) ? mapping(at, count, { ...more, noReserve: random(5) === 0 }) : file());
    at += count;
  }
  return layout;
}

test('random changes against a model that looks at each page', () => {
  const has = (list: readonly { start: bigint; end: bigint }[], number: number) =>
    list.filter(({ start, end }) => start <= BigInt(number) * page && BigInt(number) * page < end).length;
  for (let seed = 1; seed <= 400; seed += 1) {
    const random = generator(seed);
    const [before, next] = [randomLayout(random), randomLayout(random)];
    const { unmap, map, adjust, kept } = changeOf(before, next);
    for (let number = 0; number < 70; number += 1) {
      const [old, now] = [objectAt(before, number), objectAt(next, number)];
      const stays = old !== undefined && old.object === now?.object;
      const where = `seed ${seed}, page ${number}`;
      assert.is(has(kept, number), stays ? 1 : 0, `${where} kept`);
      assert.is(has(unmap, number), old && !stays ? 1 : 0, `${where} unmapped`);
      assert.is(has(map, number), now && !stays ? 1 : 0, `${where} mapped`);
      assert.is(has(adjust, number), stays && old.look !== now!.look ? 1 : 0, `${where} adjusted`);
      if (now && !stays) assert.equal(objectAt(map, number), now, `${where} is another thing`);
    }
  }
});

test.run();
