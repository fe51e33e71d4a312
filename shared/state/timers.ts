/** Interval timers (setitimer(2)) that are running: real, virtual, profiling. */
import * as v from 'valibot';
import { list, word } from './values.js';

export const TimersState = list(
  v.strictObject({
    which: v.picklist([0, 1, 2]),
    /** microseconds */
    interval: word,
    remaining: word,
  }),
  3,
);
export type TimersState = v.InferOutput<typeof TimersState>;
