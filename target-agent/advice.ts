/** From one advice for memory to another: the calls of madvise(2), mlock2(2) and munlock(2). Pure. */
import type { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import type { AddressRange } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';

type Advice = Mapping['advice'];

/**
 * madvise(2) for each flag that smaps shows, and its contrary. Nothing leads back from hg or nh but the other of the
 * two: so a mapping that has neither never had one.
 */
const switches = {
  dc: [10, 11],
  dd: [16, 17],
  hg: [14, null],
  nh: [15, null],
  wf: [18, 19],
  mg: [12, 13],
} as const;
const readAhead = { normal: 0, rr: 1, sr: 2 } as const;
const lockOnFault = 1;

/** Everything but locking. */
export function addAdvice(
  batch: CallBatch,
  { start, end }: AddressRange,
  before: Advice,
  after: Advice,
): void {
  const advise = (flag: string, advice: number) =>
    batch.add(`madvise(${flag})`, syscalls.madvise, start, end - start, advice);
  for (const [flag, [set, clear]] of Object.entries(switches) as [
    keyof typeof switches,
    readonly [number, number | null],
  ][]) {
    const [was, is] = [before.includes(flag), after.includes(flag)];
    if (was === is) continue;
    if (is) advise(flag, set);
    else if (clear !== null) advise(flag, clear);
  }
  // One setting of three values.
  const [was, is] = [readAheadOf(before), readAheadOf(after)];
  if (was !== is) advise(is, readAhead[is]);
}

/** Brings the locking to what it is in `after`, whatever it was. */
export function addLock(batch: CallBatch, { start, end }: AddressRange, after: Advice): void {
  if (!after.includes('lo')) batch.add('munlock', syscalls.munlock, start, end - start);
  else batch.add('mlock2', syscalls.mlock2, start, end - start, after.includes('lf') ? lockOnFault : 0);
}

export function isLockedAlike(before: Advice, after: Advice): boolean {
  return before.includes('lo') === after.includes('lo') && before.includes('lf') === after.includes('lf');
}

function readAheadOf(advice: Advice): keyof typeof readAhead {
  return advice.includes('rr') ? 'rr' : advice.includes('sr') ? 'sr' : 'normal';
}
