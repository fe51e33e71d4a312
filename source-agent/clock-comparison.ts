/** The clocks of two hosts, told apart by an exchange of messages that took some time. Pure. */
import type { Blocker } from '../shared/errors.js';
import type { Clocks } from '../shared/protocol/messages.js';

export interface ClockReadings {
  /** Ours, before the target was asked. */
  asked: Clocks;
  /** The target's, between the two. */
  target: Clocks;
  /** Ours, when its answer was there. */
  answered: Clocks;
  /** Both hosts run on one kernel: clocks that are equal are one clock. */
  sameKernel: boolean;
}

const tolerableShiftNs = 1_000_000_000n;
const mentionedShiftNs = 10_000_000n;

export function compareClocks({ asked, target, answered, sameKernel }: ClockReadings) {
  const blockers: Blocker[] = [];
  const notes: string[] = [];
  const shift = shiftOf(asked.realtimeNs, target.realtimeNs, answered.realtimeNs);
  const roundTripMs = Number(answered.monotonicNs - asked.monotonicNs) / 1e6;
  const measured = `the target's wall clock is ${seconds(shift)} (measured within ${roundTripMs.toFixed(1)} ms)`;
  if (magnitude(shift) > tolerableShiftNs) {
    blockers.push({ code: 'wall-clock', what: measured, object: 'CLOCK_REALTIME' });
  } else if (magnitude(shift) > mentionedShiftNs) {
    notes.push(measured);
  }
  for (const [name, clock] of [
    ['CLOCK_MONOTONIC', 'monotonicNs'],
    ['CLOCK_BOOTTIME', 'boottimeNs'],
  ] as const) {
    // Of two machines the whole exchange is in doubt, and nothing may be.
    const latest = sameKernel ? asked[clock] : answered[clock];
    if (target[clock] >= latest) continue;
    const what = `${name} would go back by ${seconds(latest - target[clock]).replace(/ .*/, '')} s: the target was booted later`;
    blockers.push({ code: 'clock-backwards', what, object: name });
  }
  return { blockers, notes };
}

/** The least by which the target's clock must differ from ours; 0 where it may be the same. */
function shiftOf(asked: bigint, target: bigint, answered: bigint): bigint {
  if (target < asked) return target - asked;
  return target > answered ? target - answered : 0n;
}

function magnitude(shift: bigint): bigint {
  return shift < 0n ? -shift : shift;
}

function seconds(shiftNs: bigint): string {
  const text = (Number(magnitude(shiftNs)) / 1e9).toFixed(3);
  return `${text} s ${shiftNs < 0n ? 'behind' : 'ahead'}`;
}
