import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';
import { endAll, errorOf, spawn } from './children.js';

const test = suite('process');

const RLIMIT_NOFILE = 7;
const PR_SET_NAME = 15;
const PR_GET_TIMERSLACK = 30;
const infinite = 2n ** 64n - 1n;

test.after.each(endAll);

test('kill tells what is missing', () => {
  native.kill(process.pid, 0);
  const error = errorOf(() => native.kill(2 ** 22 + 1, 0));
  assert.is(error.code, 'ESRCH');
  assert.is(error.pid, 2 ** 22 + 1);
});

test('limits are read and lowered', () => {
  const pid = spawn();
  const [, hard] = native.getLimit(pid, RLIMIT_NOFILE);
  native.setLimit(pid, RLIMIT_NOFILE, 77n, hard);
  assert.equal(native.getLimit(pid, RLIMIT_NOFILE), [77n, hard]);
  assert.match(readFileSync(`/proc/${pid}/limits`, 'latin1'), /^Max open files\s+77 /m);
  const [, cpu] = native.getLimit(process.pid, 0);
  assert.ok(cpu === infinite || cpu < 2n ** 63n);
  assert.ok(
    isKernelError(
      errorOf(() => native.setLimit(pid, RLIMIT_NOFILE, 78n, 77n)),
      'EINVAL',
    ),
  );
});

test('the robust list of a task: its own for Node, none for the skeleton', () => {
  const own = native.getRobustList(process.pid);
  assert.ok(own.head > 0n);
  assert.is(own.bytes, 24n);
  assert.is(native.getRobustList(spawn()).head, 0n);
});

test('prctl reaches the calling thread', () => {
  assert.ok(native.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) > 0);
  assert.is(errorOf(() => native.prctl(PR_SET_NAME, 1, 0, 0, 0)).code, 'EFAULT');
});

test.run();
