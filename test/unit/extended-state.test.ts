import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { fit } from '../../target-agent/extended-state.js';

const avx = { component: 2, offset: 576, bytes: 256, dynamic: false };
const wide = { component: 7, offset: 1664, bytes: 1024, dynamic: false };

/** A state of this length with these components in use, each byte telling its place. */
function state(bytes: number, present: bigint): Uint8Array {
  const made = Buffer.from(Array.from({ length: bytes }, (_, i) => i & 0xff));
  made.writeBigUInt64LE(present, 512);
  return made;
}

test('the same size is the same state', () => {
  const given = state(832, 7n);
  assert.is(fit(given, [avx], 1), given);
});

test('registers that only the target has are in their initial state', () => {
  const fitted = fit(state(832, 7n), [avx, wide], 1);
  assert.is(fitted.length, 2688);
  assert.equal(fitted.subarray(0, 832), new Uint8Array(state(832, 7n)));
  assert.ok(fitted.subarray(832).every((byte) => byte === 0));
});

test('registers that the target lacks may be missing where they are not in use', () => {
  assert.equal(fit(state(2688, 7n), [avx], 1), new Uint8Array(state(2688, 7n).subarray(0, 832)));
  assert.throws(
    () => fit(state(2688, 0x87n), [avx], 42),
    (error: unknown) =>
      error instanceof MigrationError &&
      error.code === 'cpu-features' &&
      /thread 42 .*component 7/.test(error.message),
  );
  assert.throws(() => fit(state(2688, 1n << 63n), [avx], 42), /component 63/);
});

test('a CPU without any extended registers', () => assert.is(fit(state(832, 3n), [], 1).length, 576));

test.run();
