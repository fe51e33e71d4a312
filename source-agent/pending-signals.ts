/** What signals are pending for a stopped thread, and which mask keeps them off. */
import { native, type ThreadImage } from '../native/index.js';
import { isInterrupted, mayHaveTemporaryMask } from '../shared/injection/restart.js';
import { parseStatus } from '../shared/proc/status.js';

/** si_signo of a siginfo_t. */
export function signalOf(info: Uint8Array): number {
  return Buffer.from(info.buffer, info.byteOffset, 4).readInt32LE();
}

/**
 * The mask in force while the thread's call waits: ptrace tells a thread's own, /proc the temporary one of ppoll and its
 * like (TIF_RESTORE_SIGMASK). Calls that are made in the thread take the temporary one away.
 */
export function maskWhileWaiting(pid: number, { tid, registers, signalMask }: ThreadImage): bigint {
  if (!isInterrupted(registers) || !mayHaveTemporaryMask(registers)) return signalMask;
  const [status] = native.readFiles([`/proc/${pid}/task/${tid}/status`]);
  return typeof status === 'number' ? signalMask : parseStatus(status!.toString()).blocked;
}

/** One of the signals (siginfo_t) is not blocked. */
export function letsThrough(mask: bigint, signals: readonly Uint8Array[]): boolean {
  return signals.some((info) => ((mask >> BigInt(signalOf(info) - 1)) & 1n) === 0n);
}

/** Only the temporary mask keeps off what is pending. */
export function handlesFirst(
  { signalMask }: ThreadImage,
  maskInForce: bigint,
  signals: readonly Uint8Array[],
): boolean {
  return letsThrough(signalMask, signals) && !letsThrough(maskInForce, signals);
}
