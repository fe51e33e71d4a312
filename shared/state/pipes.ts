/** Pipes whose ends are all inside the process, with what is in them. */
import * as v from 'valibot';
import { bytes, list, uint32 } from './values.js';

const maxPipeBytes = 64 << 20;

export const PipesState = list(
  v.strictObject({
    /** F_GETPIPE_SZ */
    capacity: v.pipe(uint32, v.maxValue(maxPipeBytes)),
    content: bytes(maxPipeBytes),
  }),
  1 << 16,
);
export type PipesState = v.InferOutput<typeof PipesState>;
