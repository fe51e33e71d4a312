/** Threads: what the processor and the kernel hold for each. */
import * as v from 'valibot';
import { address, bytes, int32, list, pid, uint32, word } from './values.js';

export const RegisterBytes = 27 * 8;

export const Thread = v.strictObject({
  /** The id inside the innermost pid namespace. */
  tid: pid,
  name: v.pipe(v.string(), v.maxLength(64)),
  /** struct user_regs_struct */
  registers: v.pipe(
    bytes(RegisterBytes),
    v.check((value) => value.byteLength === RegisterBytes, 'not 27 words'),
  ),
  /** NT_X86_XSTATE */
  extendedState: v.pipe(
    bytes(16384),
    v.check((value) => value.byteLength >= 576, 'too short'),
  ),
  signalMask: word,
  alternateStack: v.strictObject({ address: word, flags: uint32, bytes: word }),
  robustList: v.strictObject({ head: address, bytes: word }),
  clearChildTid: address,
  rseq: v.nullable(v.strictObject({ address, size: uint32, signature: uint32 })),
  scheduling: v.strictObject({
    policy: uint32,
    flags: word,
    nice: int32,
    priority: uint32,
    runtime: word,
    deadline: word,
    period: word,
  }),
  /** CPU mask where it is narrower than all CPUs of the source; else null. */
  affinity: v.nullable(bytes(1024)),
  ioPriority: uint32,
  timerSlackNs: word,
  /**
   * A relative wait that was interrupted: the call is made again for the time that remains. The registers stay as
   * they are at home (the kernel's restart code in rax); see shared/injection/restart.ts.
   */
  wait: v.nullable(v.strictObject({ remainingNs: word })),
  /** siginfo_t of signals queued for this thread alone */
  pending: list(bytes(128), 1 << 16),
});
export type Thread = v.InferOutput<typeof Thread>;

export const ThreadsState = v.pipe(list(Thread, 1 << 16), v.minLength(1));
export type ThreadsState = v.InferOutput<typeof ThreadsState>;
