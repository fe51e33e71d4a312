import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Blocker } from '../../shared/errors.js';
import { forceableCodes, isForceable, noteOf, sortOut } from '../../shared/force.js';

const blocker = (code: Blocker['code']): Blocker => ({ code, what: `it is ${code}` });

test('what can be forced harms nobody but the program', () => {
  assert.equal(forceableCodes, [
    'cpu-features',
    'more-cpus',
    'kernel-older',
    'tsc-frequency',
    'wall-clock',
    'clock-backwards',
    'signal-stack',
    'file-differs',
    'file-uncompared',
  ]);
  for (const code of [
    'no-memory',
    'pid-taken',
    'target-limit',
    'identity-refused',
    'file-missing',
    'extended-state',
  ] as const)
    assert.not.ok(isForceable(code), code);
});

test('accepted reasons apart from those that stand', () => {
  const all = [blocker('wall-clock'), blocker('pid-taken'), blocker('more-cpus')];
  assert.equal(sortOut(all, []), { blockers: all, forced: [] });
  assert.equal(sortOut(all, ['wall-clock']), { blockers: [all[1], all[2]], forced: [all[0]] });
});

test('a peer that forces what cannot be forced forces nothing', () => {
  const all = [blocker('pid-taken'), blocker('no-memory')];
  assert.equal(sortOut(all, ['pid-taken', 'no-memory']), { blockers: all, forced: [] });
});

test('what the report says', () => {
  assert.is(noteOf(blocker('wall-clock')), 'forced (wall-clock): it is wall-clock');
});

test.run();
