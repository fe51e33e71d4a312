import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Capture } from './kind.js';

const actionBytes = 32; // struct kernel_sigaction: handler, flags, restorer, mask
const signalSetBytes = 8;
const settable = Array.from({ length: 64 }, (_, i) => i + 1).filter(
  (signal) => signal !== 9 && signal !== 19,
);

export const captureSignals: Capture<'signals'> = {
  capture({ frozen }) {
    const { scratch } = frozen.carrier;
    const batch = new CallBatch();
    for (const signal of settable) {
      const at = scratch + BigInt(signal * actionBytes);
      batch.add('rt_sigaction', syscalls.rtSigaction, signal, 0, at, signalSetBytes);
    }
    frozen.run(batch);
    batch.check();
    const table = frozen.read(scratch, 65 * actionBytes);
    const actions = settable
      .map((signal) => ({
        signal,
        handler: table.readBigUInt64LE(signal * actionBytes),
        flags: table.readBigUInt64LE(signal * actionBytes + 8),
        restorer: table.readBigUInt64LE(signal * actionBytes + 16),
        mask: table.readBigUInt64LE(signal * actionBytes + 24),
      }))
      .filter(({ handler, flags, mask }) => handler !== 0n || flags !== 0n || mask !== 0n);
    return { actions, pending: frozen.pending };
  },
};
