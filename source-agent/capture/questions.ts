/**
 * What only the process itself can say: the calls of all kinds in one batch, as each batch of its own would cost two
 * switches between agent and process.
 */
import { stubScratch } from '../../native/index.js';
import { type Argument, CallBatch } from '../../shared/injection/batch.js';
import type { FrozenProcess } from '../frozen-process.js';

const alignment = 16n;

export class Questions {
  readonly batch = new CallBatch();
  readonly #base: bigint;
  #used = 0n;
  #answers: Buffer = Buffer.alloc(0);

  constructor(private readonly frozen: FrozenProcess) {
    this.#base = frozen.carrier.scratch;
  }

  /** Adds a call to the batch and returns its index in it. */
  add(name: string, number: number, ...given: Argument[]): number {
    return this.batch.add(name, number, ...given);
  }

  /** Room for an answer of so many bytes: its address in the process, zeroed. */
  room(bytes: number): bigint {
    const at = this.#base + this.#used;
    this.#used += (BigInt(bytes) + alignment - 1n) & -alignment;
    if (this.#used > stubScratch) throw new Error('the scratch memory is too small for all answers');
    return at;
  }

  /** Runs the batch. Answers may be read from then on. */
  ask(): void {
    const { frozen } = this;
    const bytes = Number(this.#used);
    // A call that fails or is not known leaves its room as it was.
    if (bytes > 0) frozen.write(this.#base, new Uint8Array(bytes));
    if (this.batch.length > 0) frozen.run(this.batch);
    if (bytes > 0) this.#answers = frozen.read(this.#base, bytes);
  }

  /** What the process wrote into that room. */
  answer(room: bigint, bytes: number): Buffer {
    const at = Number(room - this.#base);
    return this.#answers.subarray(at, at + bytes);
  }
}
