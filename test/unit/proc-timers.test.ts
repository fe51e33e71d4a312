import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseTimers } from '../../shared/proc/timers.js';

// Recorded on Linux 6.18.
const recorded = `ID: 3
signal: 12/0000000000001234
notify: signal/pid.5744
ClockID: -6
ID: 2
signal: 10/0000000000001234
notify: signal/tid.5744
ClockID: 7
ID: 1
signal: 0/0000000000001234
notify: none/pid.5744
ClockID: 1
`;

test('each timer', () => {
  assert.equal(parseTimers(recorded), [
    { id: 3, signal: 12, value: 0x1234n, notify: 'signal', toThread: false, target: 5744, clock: -6 },
    { id: 2, signal: 10, value: 0x1234n, notify: 'signal', toThread: true, target: 5744, clock: 7 },
    { id: 1, signal: 0, value: 0x1234n, notify: 'none', toThread: false, target: 5744, clock: 1 },
  ]);
});

test('no timers; a value of all bits', () => {
  assert.equal(parseTimers(''), []);
  const text = recorded.replace('0000000000001234', 'ffffffffffffffff').replace('none', 'thread');
  const [first, , last] = parseTimers(text);
  assert.is(first!.value, 2n ** 64n - 1n);
  assert.is(last!.notify, 'thread');
});

test('lines that are missing, more, or odd are refused', () => {
  assert.throws(() => parseTimers(recorded.replace(/ClockID: 7\n/, '')), /timers/);
  assert.throws(() => parseTimers(recorded.replace(/ClockID: 1\n$/, '')), /timers/);
  assert.throws(() => parseTimers(recorded.replace('ClockID: 7\n', 'ClockID: 7\nOverruns: 2\n')), /timers/);
  assert.throws(() => parseTimers(recorded.replace('none/', 'telegram/')), /timers/);
});

test.run();
