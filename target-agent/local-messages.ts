/** What the target's own processes say to each other: the agent relays the source's messages and adds its own. */
import * as v from 'valibot';
import { messageSet } from '../shared/protocol/message-set.js';
import {
  Abort,
  Commit,
  FromSource,
  FromTarget,
  migration,
  Over,
  Recall,
  Withdraw,
} from '../shared/protocol/messages.js';
import { int32, pid, text } from '../shared/state/values.js';

/** Agent to spawner. What is asked for comes back over the descriptor socket. */
export const ToSpawner = messageSet(
  /** Start a shepherd: its two channels. */
  v.strictObject({ type: v.literal('spawn') }),
  /** Whoever knows of this migration: one channel, with the shepherd where it lives, else with a witness. */
  v.strictObject({ type: v.literal('recall'), migration }),
);
export type ToSpawner = v.InferOutput<typeof ToSpawner>;

export const FromSpawner = messageSet(
  v.strictObject({ type: v.literal('spawned'), pid }),
  v.strictObject({ type: v.literal('recalled') }),
  v.strictObject({ type: v.literal('failed'), what: text }),
);
export type FromSpawner = v.InferOutput<typeof FromSpawner>;

/** The first message to a shepherd. */
const Begin = v.strictObject({
  type: v.literal('begin'),
  /** Both hosts run on one kernel: the same inode is the same file. */
  sameKernel: v.boolean(),
  /** Where the source is. */
  peer: text,
});

export const ToShepherd = messageSet(Begin, ...FromSource.options);
export type ToShepherd = v.InferOutput<typeof ToShepherd>;

/** To a shepherd, or a witness in its place, about a migration that another session began. */
export const ToHeld = messageSet(Recall, Commit, Withdraw, Abort, Over);
export type ToHeld = v.InferOutput<typeof ToHeld>;

/** The migrated process has ended. */
const Ended = v.strictObject({
  type: v.literal('ended'),
  pid,
  code: v.nullable(int32),
  signal: v.nullable(int32),
});

export const FromShepherd = messageSet(Ended, ...FromTarget.options);
export type FromShepherd = v.InferOutput<typeof FromShepherd>;
