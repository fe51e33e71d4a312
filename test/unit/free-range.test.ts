import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { freeRange } from '../../shared/free-range.js';
import { type AddressRange, overlaps, pageBytes } from '../../shared/ranges.js';

const wanted = 0x20000n;
const at = (start: bigint, bytes: bigint): AddressRange => ({ start, end: start + bytes });

function assertFree(taken: AddressRange[], bytes = wanted): bigint {
  const start = freeRange(taken, bytes);
  assert.is(start % pageBytes, 0n, 'not page aligned');
  assert.ok(!taken.some((range) => overlaps(range, at(start, bytes))), 'overlaps');
  return start;
}

test('an empty address space has its middle free', () => {
  const start = assertFree([]);
  assert.ok(start > 0x100000000n && start + wanted < 0x7f0000000000n);
});

test('the largest hole is chosen, not the first', () => {
  const taken = [at(0x555500000000n, 0x100000n), at(0x7e0000000000n, 0x1000n)];
  const start = assertFree(taken);
  assert.ok(start < 0x555500000000n);
});

test('nested and touching ranges do not open holes that are none', () => {
  const taken = [
    at(0x100000000n, 0x300000000000n),
    at(0x200000000000n, 0x1000n),
    at(0x300100000000n, 0x4e0000000000n),
  ];
  const start = assertFree(taken);
  assert.ok(start >= 0x7e0100000000n);
});

test('ranges above and below what is looked at do not count', () => {
  assertFree([at(0x1000n, 0x1000n), at(0x7fff00000000n, 0x1000n), at(0x7ffff0000000n, 0x1000n)]);
});

test('a full address space is refused', () => {
  assert.throws(() => freeRange([at(0n, 1n << 47n)], wanted), /no free range/);
  const tight = [at(0n, 0x100000000n), at(0x100000000n + 2n * wanted, 1n << 47n)];
  assert.throws(() => freeRange(tight, wanted), /no free range/);
});

test.run();
