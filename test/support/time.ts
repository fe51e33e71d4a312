/** Machines that are much slower than most, as emulated ones are: every limit of the tests grows by one factor. */
import { nightly } from './random.js';

/** GODWIT_TIME_SCALE, or 1: what each time limit is multiplied by. */
export const timeScale = positive(process.env.GODWIT_TIME_SCALE ?? '1');

/** A time limit as it is for this machine, in the unit it was given in. */
export function scaled(limit: number): number {
  return limit * timeScale;
}

/** How often to repeat what is repeated `usual` times on a common machine: at least twice. */
export function repetitions(usual: number): number {
  return Math.max(2, Math.ceil(usual / timeScale));
}

/** Memory of a program that has `usual` megabytes on a common machine: at least 8. At full size every night. */
export function megabytes(usual: number): number {
  return nightly ? usual : Math.max(8, Math.ceil(usual / timeScale));
}

function positive(text: string): number {
  const scale = Number(text);
  if (!(scale > 0)) throw new Error(`GODWIT_TIME_SCALE is a number above 0, not "${text}"`);
  return scale;
}
