import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cpuSecondsOf } from '../../bench/cpu-time.js';
import { gapsSince } from '../../bench/move.js';
import { median, medians, quantile, slope } from '../../bench/statistics.js';
import { formatCell, formatGoals, formatTable, isMet } from '../../bench/table.js';

test('a median lies between the two in the middle', () => {
  assert.is(median([3]), 3);
  assert.is(median([9, 1, 2]), 2);
  assert.is(median([10, 1, 2, 4]), 3);
  assert.throws(() => median([]), /no samples/);
});

test('samples are sorted as numbers and left as they were', () => {
  const samples = [10, 9, 100];
  assert.is(median(samples), 10);
  assert.equal(samples, [10, 9, 100]);
});

test('a quantile is interpolated', () => {
  const ten = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
  assert.is(quantile(ten, 0), 1);
  assert.is(quantile(ten, 1), 10);
  assert.ok(Math.abs(quantile(ten, 0.9) - 9.1) < 1e-9);
});

test('medians go by name, and what is missing is 0', () => {
  assert.equal(medians([{ a: 1, b: 5 }, { a: 3 }, { a: 2 }]), { a: 2, b: 0 });
});

test('a slope ignores the offset', () => {
  assert.is(slope([0, 1, 2].map((x) => ({ x, y: 7 + 3 * x }))), 3);
  assert.throws(() => slope([{ x: 1, y: 1 }]), /points apart/);
});

test('a table has the first column to the left and the rest to the right', () => {
  const rows = [
    ['idle', 1.234],
    ['writing', 123.4],
  ];
  assert.is(formatTable(['what', 'ms'], rows), 'what       ms\n-------  ----\nidle     1.23\nwriting   123');
});

test('figures have three digits', () => {
  const cases: [number, string][] = [
    [0, '0.00'],
    [-0.001, '0.00'],
    [-1.5, '-1.50'],
    [9.994, '9.99'],
    [9.996, '10.0'],
    [99.96, '100'],
    [1234.6, '1235'],
  ];
  for (const [value, text] of cases) assert.is(formatCell(value), text);
});

test('a goal is met at its bound, from the right side', () => {
  const goal = { what: 'gap', unit: 'ms', reach: 6 } as const;
  assert.ok(isMet({ ...goal, bound: 'most', measured: 6 }));
  assert.not.ok(isMet({ ...goal, bound: 'most', measured: 6.01 }));
  assert.ok(isMet({ ...goal, bound: 'least', measured: 6 }));
  assert.not.ok(isMet({ ...goal, bound: 'least', measured: 5.99 }));
  assert.match(
    formatGoals([{ ...goal, bound: 'most', measured: 7 }]),
    /gap, ms +7\.00 +at most 6\.00 +missed/,
  );
});

test('only gaps that ended after the start count', () => {
  const lines = ['GAP 900000 at 999', 'GAP 1500000 at 1000', 'GAP 250000 at 2000', 'WRITTEN pages=1 gaps=3'];
  assert.equal(gapsSince(1000n, lines), [1.5, 0.25]);
});

test('user and system time are found behind any name', () => {
  const stat = '12 (a b) c) S 1 12 12 0 -1 4194560 100 0 0 0 150 25 7 8 20 0 1 0 100 0 0';
  assert.is(cpuSecondsOf(stat), 1.75);
});

test.run();
