import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { chooseTracker } from '../../source-agent/tracker/choice.js';
import type { TrackerName } from '../../source-agent/tracker/index.js';

const kernel =
  (missing: Partial<Record<TrackerName, string>>) =>
  (name: TrackerName): string | null =>
    missing[name] ?? null;
const old = kernel({ userfault: 'is too old' });
const bare = kernel({ userfault: 'is too old', 'soft-dirty': 'is not built in' });

test('userfault first, then soft-dirty, then none, and the reason is what stood before', () => {
  assert.is(chooseTracker('auto', kernel({})).tracker, 'userfault');
  assert.equal(chooseTracker('auto', old), { tracker: 'soft-dirty', why: 'userfault is too old' });
  assert.equal(chooseTracker('auto', bare), {
    tracker: 'none',
    why: 'userfault is too old; soft-dirty is not built in',
  });
});

test('only what has to be known is tried', () => {
  const tried: TrackerName[] = [];
  chooseTracker('auto', (name) => {
    tried.push(name);
    return null;
  });
  assert.equal(tried, ['userfault']);
});

test('what failed on the program is left out', () => {
  const failed = new Map<TrackerName, string>([['userfault', 'is taken']]);
  assert.equal(chooseTracker('auto', kernel({}), failed), {
    tracker: 'soft-dirty',
    why: 'userfault is taken',
  });
  failed.set('soft-dirty', 'is taken as well');
  assert.is(chooseTracker('auto', kernel({}), failed).tracker, 'none');
});

test('what is asked for is taken, or refused by name', () => {
  assert.equal(chooseTracker('none', kernel({})), { tracker: 'none', why: 'as --tracker says' });
  assert.is(chooseTracker('soft-dirty', old).tracker, 'soft-dirty');
  assert.throws(
    () => chooseTracker('soft-dirty', bare),
    (error: unknown) =>
      error instanceof MigrationError &&
      error.code === 'tracker-unavailable' &&
      error.message === 'tracker soft-dirty is not built in',
  );
});

test.run();
