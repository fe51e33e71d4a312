/**
 * A page of the program that is written right after its soft-dirty bits were cleared, with what it holds already: when
 * it is clean at the next look, and still the same page, somebody else has cleared them in between (a second migration,
 * CRIU's pre-dump). Programs do not write to it by themselves as a rule; where one does, nothing is noticed.
 */
import { native } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';
import { parseStat } from '../../shared/proc/stat.js';
import type { SourceProcess } from '../source-process.js';
import { frameOf, isSoftDirty, readEntry } from './pagemap-entry.js';

const wordBytes = 8;

export class Canary {
  /** Where the page was when it was written; null while there is nothing to compare with. */
  #frame: bigint | null = null;

  constructor(private readonly process: SourceProcess) {}

  /** The process must be stopped. */
  set(): void {
    this.#frame = null;
    const { pid, pagemap } = this.process;
    const address = this.#address();
    if (address === null) return;
    try {
      native.writeMemory(pid, address, native.readMemory(pid, address, wordBytes));
    } catch (error) {
      if (!isKernelError(error, 'EFAULT')) throw error;
      return; // the program has unmapped or protected it
    }
    this.#frame = frameOf(readEntry(pagemap, address));
  }

  /** False when the bits were cleared since `set`. */
  holds(): boolean {
    const address = this.#address();
    if (this.#frame === null || address === null) return true;
    const entry = readEntry(this.process.pagemap, address);
    return isSoftDirty(entry) || frameOf(entry) !== this.#frame;
  }

  /** Where the arguments begin: on the stack, above everything that is in use. */
  #address(): bigint | null {
    const text = this.process.read('stat');
    if (text === null) return null;
    const { argStart } = parseStat(text);
    return argStart === 0n ? null : argStart & ~7n;
  }
}
