/**
 * The agent's main thread on the CPU of the thread that works for it. A remote call is two switches on one CPU, but on
 * two a sleeping CPU has to be woken each time, which takes ten times as long (measured: 10 against 100 us).
 */
import { native } from '../native/index.js';
import { isKernelError } from '../shared/errors.js';

const self = 0;
const nothing: Disposable = { [Symbol.dispose]: () => undefined };

/** Until disposed of. Where the agent may not run on that CPU it stays where it is: that only takes longer. */
export function runOn(cpu: number): Disposable {
  const before = native.getAffinity(self);
  const only = new Uint8Array(before.length);
  if (cpu >> 3 >= only.length) return nothing;
  only[cpu >> 3] = 1 << (cpu & 7);
  try {
    native.setAffinity(self, only);
  } catch (error) {
    if (!isKernelError(error, 'EINVAL', 'EPERM')) throw error;
    return nothing;
  }
  return { [Symbol.dispose]: () => native.setAffinity(self, before) };
}
