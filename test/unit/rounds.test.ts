import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  closingIsOver,
  decide,
  predictedDowntimeMs,
  type RoundLimits,
  type RoundMeasure,
  roundIntervalMs,
} from '../../source-agent/rounds.js';

const mebibyte = 1 << 20;
const limits: RoundLimits = { maxDowntimeMs: 30, maxRounds: 30, onStall: 'force' };
const fixedMs = 5;

/** The first round of 1 GiB at 1 MiB a millisecond, then rounds of these sizes over these times. */
function history(...rounds: [bytes: number, dirtiedOverMs: number][]): RoundMeasure[] {
  return [
    { bytes: 1024 * mebibyte, durationMs: 1024, dirtiedOverMs: null },
    ...rounds.map(([bytes, dirtiedOverMs]) => ({ bytes, durationMs: bytes / mebibyte + 1, dirtiedOverMs })),
  ];
}

test('the first round never leads to the freeze: it says nothing about what is dirtied', () => {
  const tiny = [{ bytes: 4096, durationMs: 0.1, dirtiedOverMs: null }];
  assert.is(decide(tiny, fixedMs, limits).next, 'round');
});

test('a round waits out the rest of its interval, and a long one does not wait', () => {
  const short = [{ bytes: 4096, durationMs: 100, dirtiedOverMs: null }];
  assert.equal(decide(short, fixedMs, limits), { next: 'round', waitMs: roundIntervalMs - 100 });
  assert.equal(decide(history(), fixedMs, limits), { next: 'round', waitMs: 0 });
});

test('an idle process freezes as soon as a second round has shown it', () => {
  assert.equal(decide(history([0, 1024]), fixedMs, limits), { next: 'freeze', reason: 'predicted' });
});

test('shrinking rounds go on until the prediction fits', () => {
  const rounds: [number, number][] = [];
  const decisions = [];
  for (let bytes = 512 * mebibyte; ; bytes /= 2) {
    rounds.push([bytes, Math.max(roundIntervalMs, bytes / mebibyte)]);
    const decision = decide(history(...rounds), fixedMs, limits);
    decisions.push(decision.next);
    if (decision.next !== 'round') {
      assert.equal(decision, { next: 'freeze', reason: 'predicted' });
      break;
    }
  }
  assert.ok(decisions.length > 3 && decisions.length < 12, `${decisions.length} rounds`);
});

test('the prediction is what closing leaves over, at the best bandwidth, plus the fixed cost', () => {
  // 64 MiB dirtied in 300 ms: closing takes its 65 ms, in which 13.9 MiB are dirtied again.
  const rate = 64 / 300;
  const expected = rate * 65 + fixedMs;
  assert.ok(Math.abs(predictedDowntimeMs(history([64 * mebibyte, 300]), fixedMs) - expected) < 0.01);
});

test('never more is left than was dirtied', () => {
  const all = predictedDowntimeMs(history([64 * mebibyte, 1]), fixedMs);
  assert.ok(Math.abs(all - (64 + fixedMs)) < 0.01);
});

test('a smaller allowance asks for more rounds', () => {
  const dirty = history([64 * mebibyte, 300]);
  assert.is(decide(dirty, fixedMs, limits).next, 'freeze');
  assert.is(decide(dirty, fixedMs, { ...limits, maxDowntimeMs: 10 }).next, 'round');
});

test('three rounds in a row without progress are a stall, which is forced or given up', () => {
  const same: [number, number] = [400 * mebibyte, 400];
  assert.is(decide(history(same, same, same), fixedMs, limits).next, 'round');
  const stalled = history(same, same, same, same);
  assert.equal(decide(stalled, fixedMs, limits), { next: 'freeze', reason: 'forced' });
  assert.equal(decide(stalled, fixedMs, { ...limits, onStall: 'cancel' }), { next: 'cancel' });
});

test('one round of progress takes the stall back', () => {
  const [same, less]: [number, number][] = [
    [400 * mebibyte, 400],
    [300 * mebibyte, 300],
  ];
  assert.is(decide(history(same!, same!, same!, less!), fixedMs, limits).next, 'round');
  assert.is(decide(history(same!, less!, less!, less!), fixedMs, limits).next, 'round');
});

test('the number of rounds is bounded', () => {
  const shrinking = Array.from({ length: 9 }, (_, i): [number, number] => [(1000 - 110 * i) * mebibyte, 300]);
  const bounded = { ...limits, maxRounds: 10, maxDowntimeMs: 1 };
  assert.is(decide(history(...shrinking.slice(0, 8)), fixedMs, bounded).next, 'round');
  assert.equal(decide(history(...shrinking), fixedMs, bounded), { next: 'freeze', reason: 'forced' });
  assert.equal(decide(history(), fixedMs, { ...bounded, maxRounds: 1, onStall: 'cancel' }), {
    next: 'cancel',
  });
});

test('rounds of nothing in no time are no division by zero', () => {
  const nothing = [
    { bytes: 0, durationMs: 0, dirtiedOverMs: null },
    { bytes: 0, durationMs: 0, dirtiedOverMs: 0 },
  ];
  assert.is(predictedDowntimeMs(nothing, fixedMs), fixedMs);
  assert.is(decide(nothing, fixedMs, limits).next, 'freeze');
});

test('closing rounds end when little is left, when they shrink no more, or after twenty', () => {
  assert.not.ok(closingIsOver([]));
  assert.not.ok(closingIsOver([mebibyte]));
  assert.ok(closingIsOver([32768]));
  assert.not.ok(closingIsOver([32769]));
  assert.not.ok(closingIsOver([mebibyte, 0.7 * mebibyte]));
  assert.ok(closingIsOver([mebibyte, 0.8 * mebibyte]));
  assert.ok(closingIsOver([mebibyte, 2 * mebibyte]));
  const halves = Array.from({ length: 20 }, (_, i) => 2 ** (50 - i));
  assert.not.ok(closingIsOver(halves.slice(0, 19)));
  assert.ok(closingIsOver(halves));
});

test.run();
