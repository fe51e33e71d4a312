/**
 * The agent's main thread on the CPU of the thread that works for it, and the addon's threads on the others. A remote
 * call is two switches on one CPU, but on two a sleeping CPU has to be woken each time, which takes ten times as long
 * (measured: 10 against 100 us). A thread that scans pages on that CPU meanwhile makes each of them wait for its slice.
 */
import { native } from '../native/index.js';
import { isKernelError } from '../shared/errors.js';

const self = 0;

/** Wherever the agent may run, until it has joined a CPU, and again when disposed of. */
export class SameCpu implements Disposable {
  #before: Uint8Array | undefined;
  #joined: number | undefined;

  /**
   * Takes 0.1 ms, unless it has joined that CPU already. Where the agent may not run on it, it stays where it is: that
   * only takes longer.
   */
  join(cpu: number): void {
    if (cpu === this.#joined) return;
    this[Symbol.dispose]();
    const before = native.getAffinity(self);
    const [only, others] = [new Uint8Array(before.length), Uint8Array.from(before)];
    if (cpu >> 3 >= only.length) return;
    const bit = 1 << (cpu & 7);
    only[cpu >> 3] = bit;
    others[cpu >> 3]! &= ~bit;
    try {
      native.setAffinity(self, only);
    } catch (error) {
      if (!isKernelError(error, 'EINVAL', 'EPERM')) throw error;
      return;
    }
    this.#before = before;
    this.#joined = cpu;
    native.setPoolAffinity(others.some((byte) => byte !== 0) ? others : before);
  }

  [Symbol.dispose](): void {
    const before = this.#before;
    if (!before) return;
    this.#before = undefined;
    this.#joined = undefined;
    native.setAffinity(self, before);
    native.setPoolAffinity(before);
  }
}
