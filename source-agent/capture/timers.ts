import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { parseTimers } from '../../shared/proc/timers.js';
import type { Capture } from './kind.js';

const intervalTimers = [0, 1, 2] as const; // ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF
const itimervalBytes = 32;

export const captureTimers: Capture<'timers'> = {
  detect({ process }) {
    return parseTimers(process.read('timers') ?? '').map(({ id }) => ({
      code: 'timers',
      what: `process ${process.pid} has a POSIX timer (id ${id})`,
      pid: process.pid,
      object: `POSIX timer ${id}`,
    }));
  },
  capture({ frozen }) {
    const { scratch } = frozen.carrier;
    const batch = new CallBatch();
    for (const which of intervalTimers) {
      batch.add('getitimer', syscalls.getitimer, which, scratch + BigInt(which * itimervalBytes));
    }
    frozen.run(batch);
    batch.check();
    const values = frozen.read(scratch, intervalTimers.length * itimervalBytes);
    const microseconds = (at: number) => values.readBigInt64LE(at) * 1000000n + values.readBigInt64LE(at + 8);
    return intervalTimers
      .map((which) => ({
        which,
        interval: microseconds(which * itimervalBytes),
        remaining: microseconds(which * itimervalBytes + 16),
      }))
      .filter(({ remaining }) => remaining > 0n);
  },
};
