import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { SignalsState } from '../../shared/state/signals.js';
import type { SourceProcess } from '../source-process.js';
import type { Capture } from './kind.js';

const actionBytes = 32; // struct kernel_sigaction: handler, flags, restorer, mask
const signalSetBytes = 8;
const settable = Array.from({ length: 64 }, (_, i) => i + 1).filter(
  (signal) => signal !== 9 && signal !== 19,
);

export const captureSignals: Capture<'signals'> = {
  capture({ frozen }, questions) {
    const room = questions.room(65 * actionBytes);
    const calls = settable.map((signal) =>
      questions.add(
        'rt_sigaction',
        syscalls.rtSigaction,
        signal,
        0,
        room + BigInt(signal * actionBytes),
        signalSetBytes,
      ),
    );
    return () => {
      for (const call of calls) questions.batch.result(call);
      const table = questions.answer(room, 65 * actionBytes);
      const before = known.get(frozen.process);
      if (before?.table.equals(table)) return { actions: before.actions, pending: frozen.pending };
      const actions = actionsOf(table);
      known.set(frozen.process, { table: Buffer.from(table), actions });
      return { actions, pending: frozen.pending };
    };
  },
};

type Actions = SignalsState['actions'];

/** What a process answered last: it rarely changes, and is then the same object. */
const known = new WeakMap<SourceProcess, { table: Buffer; actions: Actions }>();

function actionsOf(table: Buffer): Actions {
  return settable
    .map((signal) => ({
      signal,
      handler: table.readBigUInt64LE(signal * actionBytes),
      flags: table.readBigUInt64LE(signal * actionBytes + 8),
      restorer: table.readBigUInt64LE(signal * actionBytes + 16),
      mask: table.readBigUInt64LE(signal * actionBytes + 24),
    }))
    .filter(({ handler, flags, mask }) => handler !== 0n || flags !== 0n || mask !== 0n);
}
