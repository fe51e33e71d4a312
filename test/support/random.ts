/** Numbers that look random and come again with the same seed: mulberry32. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  below(limit: number): number {
    return this.next() * limit;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[Math.floor(this.below(choices.length))]!;
  }
}

/** GODWIT_SEED, or a new one. Tests print it. */
export function chosenSeed(): number {
  const given = process.env.GODWIT_SEED;
  return given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given) >>> 0;
}

/** GODWIT_NIGHTLY=1 asks for the long form of a test. */
export const nightly = process.env.GODWIT_NIGHTLY === '1';
