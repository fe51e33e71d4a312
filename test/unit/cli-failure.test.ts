import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { failureReport, formatFailure, formatStack } from '../../cli/failure.js';
import { asMigrationError, catalogue, type ErrorCode, MigrationError } from '../../shared/errors.js';

const task = 'moving process 4711 to b:7777';

test('one error: what, code, task, and what to do', () => {
  const error = new MigrationError('target-unreachable', 'b:7777 refuses connections (ECONNREFUSED)', {
    object: 'b:7777',
    phase: 'connect',
  });
  assert.is(
    formatFailure(error, task),
    `migrate: b:7777 refuses connections (ECONNREFUSED) [target-unreachable]
  while moving process 4711 to b:7777, step connect
  Check the address and that \`migrate agent --listen\` runs there.`,
  );
});

test('an error without a task or subject', () => {
  const error = new MigrationError('usage', "unknown option '--nope'");
  assert.is(formatFailure(error, null), "migrate: unknown option '--nope' [usage]\n  See `migrate --help`.");
});

test('parts of the subject that the sentence does not name', () => {
  const error = new MigrationError('stop-timeout', 'a thread did not stop', {
    pid: 4711,
    tid: 4713,
    object: '/proc/4711/task',
    phase: 'freeze',
  });
  assert.is(
    formatFailure(error, task).split('\n')[1],
    `  while ${task}, thread 4713, /proc/4711/task, step freeze`,
  );
  assert.is(
    formatFailure(error, null).split('\n')[1],
    '  process 4711, thread 4713, /proc/4711/task, step freeze',
  );
});

test('a pid is not found inside another number', () => {
  const error = new MigrationError('pid-taken', 'pid 47110 is in use', { pid: 4711 });
  assert.match(formatFailure(error, null), '  process 4711\n');
});

test('several blockers: grouped by code, the advice of each once', () => {
  const error = MigrationError.refused([
    { code: 'descriptor-kind', what: 'descriptor 5 is a socket', pid: 4711, object: 'descriptor 5' },
    { code: 'file-locked', what: 'it holds a lock', pid: 4711, object: '/var/lib/x' },
    { code: 'descriptor-kind', what: 'descriptor 7 is an inotify instance', pid: 4711 },
  ]);
  assert.is(
    formatFailure(error, task),
    `migrate: 3 things in the way while moving process 4711 to b:7777; the process goes on here
  descriptor-kind
    - descriptor 5 is a socket
    - descriptor 7 is an inotify instance
    This kind of descriptor is not carried yet; close it first.
  file-locked
    - it holds a lock (/var/lib/x)
    File locks are not carried yet.`,
  );
});

test('a difference of the hosts: what it would break, what to do, and that it can be accepted', () => {
  const error = MigrationError.refused([
    { code: 'wall-clock', what: 'the wall clock is 5.000 s ahead' },
    { code: 'target-limit', what: 'the process has 70000 mappings' },
  ]);
  assert.is(
    formatFailure(error, task),
    `migrate: 2 things in the way while moving process 4711 to b:7777; the process goes on here
  wall-clock
    - the wall clock is 5.000 s ahead
    The time of day jumps: deadlines, leases and time stamps are wrong by so much.
    Let both hosts keep their time (chrony, ntpd).
    Accepted with --force wall-clock.
  target-limit
    - the process has 70000 mappings
    The process could not be built.
    Raise the setting named on the target.`,
  );
});

test('one blocker reads like any error', () => {
  const error = MigrationError.refused([
    { code: 'descriptor-kind', what: 'descriptor 5 is a socket', pid: 4711 },
  ]);
  assert.is(
    formatFailure(error, task),
    `migrate: descriptor 5 is a socket [descriptor-kind]
  while moving process 4711 to b:7777
  This kind of descriptor is not carried yet; close it first.`,
  );
});

test('the last line of --json', () => {
  const error = MigrationError.refused([
    { code: 'file-locked', what: 'it holds a lock', pid: 4711, object: '/x' },
  ]);
  assert.is(
    JSON.stringify(failureReport(error, 4711)),
    '{"event":"result","outcome":"refused","code":"file-locked","what":"it holds a lock","advice":"File locks are not carried yet.","sourcePid":4711,"blockers":[{"code":"file-locked","what":"it holds a lock","pid":4711,"object":"/x","advice":"File locks are not carried yet.","breaks":null,"forceable":false}]}',
  );
});

test('outcomes follow from the exit code', () => {
  const outcome = (code: ErrorCode) => failureReport(new MigrationError(code, ''), 1).outcome;
  assert.is(outcome('has-children'), 'refused');
  assert.is(outcome('secret-missing'), 'refused');
  assert.is(outcome('target-unreachable'), 'failed');
  assert.is(outcome('link-lost'), 'failed');
  assert.is(outcome('internal'), 'failed');
  assert.is(outcome('interrupted'), 'aborted');
  assert.is(outcome('downtime-exceeded'), 'aborted');
  assert.is(outcome('in-doubt'), 'in-doubt');
});

test('what nobody expected is internal, and the stack names its causes', () => {
  const cause = new Error('deep');
  const error = asMigrationError(new Error('shallow', { cause }));
  assert.is(error.code, 'internal');
  assert.is(formatFailure(error, null), `migrate: shallow [internal]\n  ${catalogue.internal.advice}`);
  const stack = formatStack(error);
  assert.match(stack, /shallow.*caused by: Error: shallow.*caused by: Error: deep/s);
});

test.run();
