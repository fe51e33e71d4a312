/** What belongs to the process as a whole and to nothing else. */
import * as v from 'valibot';
import { int32, pid, uint32, word } from './values.js';

export const ProcessState = v.strictObject({
  /** The id inside its own (innermost) pid namespace: the id it keeps. */
  pid,
  /** It led its session, its process group, both or neither. */
  leadsSession: v.boolean(),
  leadsGroup: v.boolean(),
  /** personality(2) */
  personality: uint32,
  /** prctl(PR_GET_DUMPABLE): 0, 1; 2 (root only) cannot be set and follows from the credentials. */
  dumpable: v.picklist([0, 1, 2]),
  childSubreaper: v.boolean(),
  hugePagesDisabled: v.boolean(),
  /** /proc/PID/oom_score_adj */
  oomScoreAdjustment: int32,
  /** /proc/PID/coredump_filter */
  coreDumpFilter: word,
});
export type ProcessState = v.InferOutput<typeof ProcessState>;
