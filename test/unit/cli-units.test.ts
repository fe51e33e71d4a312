import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatBytes, formatCount, formatMs, formatRate } from '../../cli/units.js';

test('bytes have three digits and powers of 1000', () => {
  const cases: [number, string][] = [
    [0, '0 bytes'],
    [999, '999 bytes'],
    [1000, '1.00 kB'],
    [4096, '4.10 kB'],
    [9994, '9.99 kB'],
    [9996, '10.0 kB'],
    [99_949, '99.9 kB'],
    [99_960, '100 kB'],
    [999_499, '999 kB'],
    [999_500, '1.00 MB'],
    [209_715_200, '210 MB'],
    [4_294_967_296, '4.29 GB'],
    [1e15, '1.00 PB'],
    [1e18, '1000 PB'],
  ];
  for (const [bytes, text] of cases) assert.is(formatBytes(bytes), text, String(bytes));
  assert.is(formatRate(1_050_000_000), '1.05 GB/s');
});

test('times go from hundredths of a millisecond to minutes', () => {
  const cases: [number, string][] = [
    [0, '0 ms'],
    [0.004, '0 ms'],
    [0.18, '0.18 ms'],
    [8.4, '8.40 ms'],
    [30, '30.0 ms'],
    [999.4, '999 ms'],
    [999.6, '1.00 s'],
    [1840, '1.84 s'],
    [99_949, '99.9 s'],
    [99_950, '1 min 40 s'],
    [123_000, '2 min 03 s'],
    [3_599_600, '60 min 00 s'],
  ];
  for (const [ms, text] of cases) assert.is(formatMs(ms), text, String(ms));
});

test('counts', () => {
  assert.is(formatCount(1, 'round'), '1 round');
  assert.is(formatCount(0, 'round'), '0 rounds');
  assert.is(formatCount(7, 'round'), '7 rounds');
});

test.run();
