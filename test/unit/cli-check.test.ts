import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { checkReport, exitOf, formatFindings } from '../../cli/check.js';
import type { Blocker } from '../../shared/errors.js';

const blockers: Blocker[] = [
  { code: 'file-locked', what: 'it holds a lock', pid: 9, object: '/x' },
  { code: 'pid-taken', what: 'pid 9 is in use on the target', pid: 9 },
];
const nothing = { forced: [], notes: [] };
const onlyAttemptTells = ['whether every thread stops in time'];

test('what stands in the way, with advice, and what only an attempt tells', () => {
  assert.is(
    formatFindings({ blockers, ...nothing, onlyAttemptTells }, 9, 'b:1'),
    `2 things in the way of moving process 9 to b:1:
  file-locked
    - it holds a lock (/x)
    File locks are not carried yet.
  pid-taken
    - pid 9 is in use on the target
    Start the target agent in a pid namespace of its own (unshare --pid --fork --mount-proc).
Only a real attempt can tell:
  - whether every thread stops in time`,
  );
});

test('nothing in the way; without a target only one host was looked at', () => {
  assert.is(
    formatFindings({ blockers: [], ...nothing, onlyAttemptTells: [] }, 9, 'b:1'),
    'Nothing found in the way of moving process 9 to b:1.',
  );
  assert.is(
    formatFindings({ blockers: [], ...nothing, onlyAttemptTells: [] }, 9, null),
    `Nothing found in the way of moving process 9.
Name a target as well to compare the two hosts: migrate check PID host:port`,
  );
});

test('exit code and JSON', () => {
  assert.is(exitOf({ blockers: [], ...nothing, onlyAttemptTells }), 0);
  assert.is(exitOf({ blockers, ...nothing, onlyAttemptTells }), 3);
  assert.is(
    JSON.stringify(checkReport({ blockers: blockers.slice(0, 1), ...nothing, onlyAttemptTells }, 9)),
    '{"event":"check","movable":false,"sourcePid":9,"blockers":[{"code":"file-locked","what":"it holds a lock","pid":9,"object":"/x","advice":"File locks are not carried yet.","breaks":null,"forceable":false}],"forced":[],"notes":[],"onlyAttemptTells":["whether every thread stops in time"]}',
  );
});

test.run();
