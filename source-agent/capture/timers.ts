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
  capture(_, questions) {
    const room = questions.room(intervalTimers.length * itimervalBytes);
    const calls = intervalTimers.map((which) =>
      questions.add('getitimer', syscalls.getitimer, which, room + BigInt(which * itimervalBytes)),
    );
    return () => {
      for (const call of calls) questions.batch.result(call);
      const values = questions.answer(room, intervalTimers.length * itimervalBytes);
      const microseconds = (at: number) =>
        values.readBigInt64LE(at) * 1000000n + values.readBigInt64LE(at + 8);
      return intervalTimers
        .map((which) => ({
          which,
          interval: microseconds(which * itimervalBytes),
          remaining: microseconds(which * itimervalBytes + 16),
        }))
        .filter(({ remaining }) => remaining > 0n);
    };
  },
};
