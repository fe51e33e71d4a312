/** What the target's own processes say to each other: the agent relays the source's messages and adds its own. */
import * as v from 'valibot';
import { messageSet } from '../shared/protocol/message-set.js';
import { FromSource, FromTarget } from '../shared/protocol/messages.js';
import { int32, pid, text } from '../shared/state/values.js';

/** Agent to spawner: start a shepherd. Its channels come back over the descriptor socket. */
export const ToSpawner = v.strictObject({ type: v.literal('spawn') });
export type ToSpawner = v.InferOutput<typeof ToSpawner>;

export const FromSpawner = messageSet(
  v.strictObject({ type: v.literal('spawned'), pid }),
  v.strictObject({ type: v.literal('failed'), what: text }),
);
export type FromSpawner = v.InferOutput<typeof FromSpawner>;

/** The first message to a shepherd. */
const Begin = v.strictObject({
  type: v.literal('begin'),
  /** Both hosts run on one kernel: the same inode is the same file. */
  sameKernel: v.boolean(),
});

export const ToShepherd = messageSet(Begin, ...FromSource.options);
export type ToShepherd = v.InferOutput<typeof ToShepherd>;

/** The migrated process has ended. */
const Ended = v.strictObject({
  type: v.literal('ended'),
  pid,
  code: v.nullable(int32),
  signal: v.nullable(int32),
});

export const FromShepherd = messageSet(Ended, ...FromTarget.options);
export type FromShepherd = v.InferOutput<typeof FromShepherd>;
