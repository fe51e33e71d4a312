import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { KernelError } from '../../shared/errors.js';
import { CallBatch } from '../../shared/injection/batch.js';

/** A batch of as many calls as there are results, as if it had run. */
function ran(...results: bigint[]): CallBatch {
  const batch = new CallBatch();
  results.forEach((_, i) => {
    batch.add(`call ${i}`, i);
  });
  const table = batch.table();
  results.forEach((result, i) => {
    table[i * 8 + 7] = result;
  });
  return batch;
}

test('eight words a call: number, six arguments, result', () => {
  const batch = new CallBatch();
  assert.is(batch.add('mmap', 9, 0x1000, 0x2000n, 3, 0x22, -1, 0n), 0);
  assert.is(batch.add('getpid', 39), 1);
  assert.is(batch.length, 2);
  assert.equal(
    [...batch.table()],
    [9n, 0x1000n, 0x2000n, 3n, 0x22n, -1n, 0n, 0n, 39n, 0n, 0n, 0n, 0n, 0n, 0n, 0n],
  );
});

test('addresses of the upper half keep their bits', () => {
  const batch = new CallBatch();
  batch.add('x', 1, 0xffffffffff600000n);
  assert.is(BigInt.asUintN(64, batch.table()[1]!), 0xffffffffff600000n);
});

test('the 4095 highest values are errors, all others results', () => {
  const batch = ran(5n, -1n, -4095n, -4096n, 0x7fff00000000n);
  assert.equal([batch.result(0), batch.result(3), batch.result(4)], [5n, -4096n, 0x7fff00000000n]);
  assert.throws(
    () => batch.result(1),
    (error: unknown) => {
      return (
        error instanceof KernelError &&
        error.code === 'EPERM' &&
        error.errno === 1 &&
        error.syscall === 'call 1'
      );
    },
  );
  assert.throws(
    () => batch.result(2),
    (error: unknown) => error instanceof KernelError && error.errno === 4095,
  );
  assert.is(batch.raw(1), -1n);
});

test('check throws the first failure that is not allowed', () => {
  const batch = ran(0n, -22n, -17n);
  assert.throws(() => batch.check(), /call 1 in the process: EINVAL/);
  assert.throws(() => batch.check((index) => index === 1), /call 2 in the process: EEXIST/);
  assert.throws(() => batch.check((_, errno) => errno === 17), /EINVAL/);
  batch.check((index) => index > 0);
  ran(0n, 3n).check();
});

test.run();
