import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { SignalsState } from '../../shared/state/signals.js';
import type { Skeleton } from '../skeleton.js';
import type { Restore } from './kind.js';

const actionBytes = 32;
const signalSetBytes = 8;
const siginfoBytes = 128;
const settable = Array.from({ length: 64 }, (_, i) => i + 1).filter(
  (signal) => signal !== 9 && signal !== 19,
);

export const restoreSignals: Restore = {
  settle({ skeleton, state: { signals } }) {
    setActions(skeleton, signals);
  },
  finish({ skeleton, state: { signals, process } }, changed) {
    if (changed.has('signals')) setActions(skeleton, signals);
    queue(skeleton, skeleton.pid, signals.pending, (batch, signal, at) => {
      batch.add('rt_sigqueueinfo', syscalls.rtSigqueueinfo, process.pid, signal, at);
    });
  },
};

/** Dispositions of all signals. */
export function setActions(skeleton: Skeleton, { actions }: SignalsState): void {
  const table = Buffer.alloc(65 * actionBytes);
  for (const { signal, handler, flags, restorer, mask } of actions) {
    [handler, flags, restorer, mask].forEach((word, i) => {
      table.writeBigUInt64LE(word, signal * actionBytes + i * 8);
    });
  }
  const at = skeleton.put(table);
  const batch = new CallBatch();
  for (const signal of settable) {
    batch.add(
      'rt_sigaction',
      syscalls.rtSigaction,
      signal,
      at + BigInt(signal * actionBytes),
      0,
      signalSetBytes,
    );
  }
  skeleton.run(batch);
  batch.check();
}

/**
 * Queues signals again, with all of their siginfo. A task may send itself any si_code, another one not (kernel/signal.c,
 * do_rt_sigqueueinfo): so the receiver does it, all signals being blocked meanwhile.
 */
export function queue(
  skeleton: Skeleton,
  tid: number,
  pending: readonly Uint8Array[],
  add: (batch: CallBatch, signal: number, at: bigint) => void,
): void {
  const chunk = 128;
  for (let i = 0; i < pending.length; i += chunk) {
    const infos = pending.slice(i, i + chunk).filter(({ byteLength }) => byteLength === siginfoBytes);
    const at = skeleton.put(Buffer.concat(infos));
    const batch = new CallBatch();
    infos.forEach((info, n) => {
      add(batch, Buffer.from(info).readInt32LE(), at + BigInt(n * siginfoBytes));
    });
    skeleton.run(batch, tid);
    batch.check();
  }
}
