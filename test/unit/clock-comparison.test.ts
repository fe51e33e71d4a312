import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compareClocks } from '../../source-agent/clock-comparison.js';

const ms = 1_000_000n;
const second = 1000n * ms;
const at = (realtimeNs: bigint, monotonicNs: bigint, boottimeNs = monotonicNs) => ({
  realtimeNs,
  monotonicNs,
  boottimeNs,
});
/** Asked at 100 s, answered 20 ms later; the target's clocks are so much ahead of the middle. */
const compare = (ahead: bigint, uptimeAhead = second, sameKernel = false) => {
  const target = at(100n * second + 10n * ms + ahead, 50n * second + 10n * ms + uptimeAhead);
  const [asked, answered] = [
    at(100n * second, 50n * second),
    at(100n * second + 20n * ms, 50n * second + 20n * ms),
  ];
  return compareClocks({ asked, answered, target, sameKernel });
};
const codes = (...given: Parameters<typeof compare>) =>
  compare(...given).blockers.map(({ code, object }) => `${code} ${object}`);

test('a clock within the round trip may be the same', () => {
  for (const ahead of [0n, 10n * ms, -10n * ms]) assert.equal(compare(ahead), { blockers: [], notes: [] });
});

test('what is measured is the least difference there must be', () => {
  assert.equal(compare(15n * ms), { blockers: [], notes: [] });
  assert.match(compare(30n * ms).notes[0]!, /0.020 s ahead \(measured within 20.0 ms\)/);
  assert.match(compare(-30n * ms).notes[0]!, /0.020 s behind/);
});

test('more than a second, either way', () => {
  assert.equal(codes(second + 10n * ms), []);
  assert.equal(codes(second + 11n * ms), ['wall-clock CLOCK_REALTIME']);
  assert.equal(codes(-second - 11n * ms), ['wall-clock CLOCK_REALTIME']);
  assert.match(compare(-3600n * second).blockers[0]!.what, /3599.990 s behind/);
});

test('monotonic clocks go on, or forward, never back', () => {
  const both = ['clock-backwards CLOCK_MONOTONIC', 'clock-backwards CLOCK_BOOTTIME'];
  assert.equal(codes(0n, 10_000n * second), []);
  assert.equal(codes(0n, -second), both);
  assert.match(compare(0n, -second).blockers[0]!.what, /back by 1.010 s: /);
});

test('in doubt they go back, but for one and the same clock', () => {
  assert.equal(codes(0n, 0n, false).length, 2);
  assert.equal(codes(0n, 0n, true), []);
  assert.equal(codes(0n, -second, true).length, 2, 'another time namespace of the same kernel');
});

test('each clock by itself: a host that slept has more boot time', () => {
  const now = at(0n, 5n * second, 9n * second);
  const { blockers } = compareClocks({
    asked: now,
    answered: now,
    target: at(0n, 6n * second, 7n * second),
    sameKernel: false,
  });
  assert.equal(
    blockers.map(({ object }) => object),
    ['CLOCK_BOOTTIME'],
  );
});

test.run();
