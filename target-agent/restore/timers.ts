import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Restore } from './kind.js';

const itimervalBytes = 32;

export const restoreTimers: Restore = {
  finish({ skeleton, state: { timers } }) {
    const batch = new CallBatch();
    for (const { which, interval, remaining } of timers) {
      const value = Buffer.alloc(itimervalBytes);
      value.writeBigUInt64LE(interval / 1000000n, 0);
      value.writeBigUInt64LE(interval % 1000000n, 8);
      value.writeBigUInt64LE(remaining / 1000000n, 16);
      value.writeBigUInt64LE(remaining % 1000000n, 24);
      batch.add('setitimer', syscalls.setitimer, which, skeleton.put(value, which * itimervalBytes), 0);
    }
    skeleton.run(batch);
    batch.check();
  },
};
