/** Signal dispositions and what is queued for the process. */
import * as v from 'valibot';
import { bytes, list, signalNumber, word } from './values.js';

export const SignalsState = v.strictObject({
  /** Those that differ from the default: struct kernel_sigaction. */
  actions: list(
    v.strictObject({ signal: signalNumber, handler: word, flags: word, restorer: word, mask: word }),
    64,
  ),
  /** siginfo_t of signals queued for the whole process, in order */
  pending: list(bytes(128), 1 << 16),
});
export type SignalsState = v.InferOutput<typeof SignalsState>;
