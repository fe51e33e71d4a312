import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { addAdvice, addLock, isLockedAlike } from '../../target-agent/advice.js';
import { mapping } from './support/mappings.js';

type Advice = Parameters<typeof addAdvice>[2];
const there = mapping(1, 1);

/** The advice of each madvise call. */
function calls(before: Advice, after: Advice): number[] {
  const batch = new CallBatch();
  addAdvice(batch, there, before, after);
  const table = batch.table();
  return Array.from({ length: batch.length }, (_, i) => {
    assert.is(table[i * 8], BigInt(syscalls.madvise));
    return Number(table[i * 8 + 3]);
  });
}

test('advice given and taken back', () => {
  assert.equal(calls([], ['dc', 'dd', 'wf', 'mg']), [10, 16, 18, 12]);
  assert.equal(calls(['dc', 'dd', 'wf', 'mg'], []), [11, 17, 19, 13]);
  assert.equal(calls(['dd'], ['dd']), []);
});

test('read-ahead is one setting: the last call decides', () => {
  assert.equal(calls([], ['rr']), [1]);
  assert.equal(calls([], ['sr']), [2]);
  assert.equal(calls(['sr'], ['rr']), [1]);
  assert.equal(calls(['rr'], ['sr']), [2]);
  assert.equal(calls(['rr'], []), [0]);
});

test('huge pages wanted and not wanted replace each other, and nothing else does', () => {
  assert.equal(calls(['hg'], ['nh']), [15]);
  assert.equal(calls(['nh'], ['hg']), [14]);
  assert.equal(calls(['nh'], []), []);
});

test('locking', () => {
  const call = (after: Advice) => {
    const batch = new CallBatch();
    addLock(batch, there, after);
    const table = batch.table();
    return [Number(table[0]), Number(table[3])];
  };
  assert.equal(call([]), [syscalls.munlock, 0]);
  assert.equal(call(['lo']), [syscalls.mlock2, 0]);
  assert.equal(call(['lo', 'lf']), [syscalls.mlock2, 1]);
  assert.ok(isLockedAlike(['lo', 'dd'], ['lo']));
  assert.not.ok(isLockedAlike(['lo', 'lf'], ['lo']));
});

test.run();
