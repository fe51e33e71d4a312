import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  type AddressRange,
  bytesOf,
  flatten,
  formatRange,
  mergeRanges,
  overlaps,
  pageBytes,
  subtract,
  unflatten,
} from '../../shared/ranges.js';
import { generator } from './support/protocol.js';

const range = (start: number, end: number): AddressRange => ({ start: BigInt(start), end: BigInt(end) });
const ranges = (...pairs: [number, number][]) => pairs.map(([start, end]) => range(start, end));

test('touching is not overlapping', () => {
  assert.not.ok(overlaps(range(0, 4), range(4, 8)));
  assert.ok(overlaps(range(0, 5), range(4, 8)));
  assert.ok(overlaps(range(5, 6), range(4, 8)));
});

test('what they say of themselves', () => {
  assert.is(bytesOf(range(0x1000, 0x3000)), 0x2000n);
  assert.is(formatRange({ start: 0x7f0000001000n, end: 0x7f0000002000n }), '7f0000001000-7f0000002000');
  assert.is(pageBytes, 4096n);
});

test('merging sorts, joins touching and overlapping ones, and keeps the gaps', () => {
  assert.equal(mergeRanges([]), []);
  assert.equal(mergeRanges(ranges([8, 9], [0, 2], [2, 4], [6, 7])), ranges([0, 4], [6, 7], [8, 9]));
  assert.equal(mergeRanges(ranges([0, 10], [2, 3], [9, 12])), ranges([0, 12]));
});

test('merging leaves its arguments alone', () => {
  const given = ranges([4, 8], [0, 5]);
  mergeRanges(given);
  assert.equal(given, ranges([4, 8], [0, 5]));
});

test('subtracting cuts holes of every position', () => {
  assert.equal(subtract(ranges([0, 10]), []), ranges([0, 10]));
  assert.equal(subtract(ranges([0, 10]), ranges([0, 10])), []);
  assert.equal(subtract(ranges([0, 10]), ranges([0, 2], [4, 6], [8, 12])), ranges([2, 4], [6, 8]));
  assert.equal(subtract(ranges([0, 4], [6, 10]), ranges([3, 7])), ranges([0, 3], [7, 10]));
  assert.equal(subtract(ranges([4, 6]), ranges([0, 4], [6, 9])), ranges([4, 6]));
});

test('flat and back', () => {
  const given = ranges([0, 4], [6, 10]);
  assert.equal([...flatten(given)], [0n, 4n, 6n, 10n]);
  assert.equal(unflatten(flatten(given)), given);
  assert.equal(unflatten(new BigUint64Array(0)), []);
});

test('random ranges against sets of single units', () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = generator(seed);
    const some = () =>
      Array.from({ length: random(8) }, () => {
        const start = random(60);
        return range(start, start + 1 + random(9));
      });
    const [from, holes] = [mergeRanges(some()), mergeRanges(some())];
    const units = (list: readonly AddressRange[]) =>
      new Set(
        list.flatMap(({ start, end }) =>
          Array.from({ length: Number(end - start) }, (_, i) => Number(start) + i),
        ),
      );
    const [there, gone] = [units(from), units(holes)];
    const expected = [...there].filter((unit) => !gone.has(unit)).sort((a, b) => a - b);
    const rest = subtract(from, holes);
    assert.equal(
      [...units(rest)].sort((a, b) => a - b),
      expected,
      `seed ${seed}`,
    );
    assert.ok(
      rest.every(({ start, end }) => start < end),
      `seed ${seed}: an empty range`,
    );
  }
});

test.run();
