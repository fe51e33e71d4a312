/**
 * The hand-over as a pure state machine: who may decide what, when. The two sides are source-side.ts and
 * target-side.ts; drivers perform their outputs in order and feed back what becomes of them.
 *
 * It is a two-phase commit with presumed abort, in its last-agent form: the source commits itself first and leaves the
 * last word to the target. So the right to run is handed over, never copied.
 *
 *   1. Until the source has recorded COMMIT it may give up by itself at any moment, and a source without that record
 *      has given up: whoever asks is told `abort`. The target may give up only until it has said `prepared`.
 *   2. COMMIT on the source means: it does not run here again unless the target says that it never will. It is
 *      recorded after the holder holds the process and before the target hears of it. From then until the target's
 *      record both hosts hold a whole copy and neither runs it, so that the loss of either host loses nothing.
 *   3. The target's first record, COMMIT or ABORT, is the decision, and final. COMMIT is recorded before it runs. A
 *      target that has lost its copy records ABORT, and the source's goes on. A target that still has it never gives up
 *      by itself: its copy may be the last.
 *   4. The source ends its copy when it hears `running`, lets it go when it hears `aborted`, and for no other reason.
 *      Whenever the link is back it says again what it waits for; all messages may be lost, late or repeated.
 *
 * | | the source's record | the target's record | the process | who may decide |
 * |---|---|---|---|---|
 * | rounds, freeze | open | open | runs at the source, or is stopped by its agent | either: ABORT |
 * | prepared | open | open | the same; a copy is held at the target | the source: ABORT, COMMIT |
 * | between the records | COMMIT | open | held at both | the target: COMMIT; ABORT if its copy is lost, or asked to |
 * | moved | COMMIT | COMMIT | runs at the target | nobody: decided |
 * | kept | ABORT, or none | ABORT, or none | runs at the source | nobody: decided |
 *
 * | message of the source | means |
 * |---|---|
 * | `prepare` e | all of freeze e has been sent: complete it and hold it (today's `finish`) |
 * | `reopen` e | freeze e is void, the program runs on: go on following it |
 * | `commit` e | COMMIT is recorded: the copy of freeze e is yours to run |
 * | `withdraw` | do not run it, if that is not decided yet; tell me either way |
 * | `abort` | it runs on at the source, or has ended there: discard your copy |
 * | `over` | what you recorded is known here: nobody will ask again |
 *
 * | message of the target | means |
 * |---|---|
 * | `prepared` e | the copy of freeze e is complete and held; said again: what has been decided? |
 * | `running` | COMMIT is recorded, and it runs, or ran until it ended by itself |
 * | `aborted` | it was never run here and never will be |
 * | `lost` | COMMIT is recorded, and the process is gone: its host or shepherd died |
 * | `unknown` | no record of it: this says nothing, and frees nobody |
 *
 * **Ids and epochs.** An id is drawn at random for each attempt to move a process, so a message of an earlier move can
 * never be taken for one of this, even when a process moves there and back. The epoch numbers the freezes within one:
 * `prepared` and `commit` of a freeze that was given up are not obeyed. An id never comes back from ABORT, so a commit
 * that arrives late finds nothing to run.
 *
 * **Records** are snapshots: the last whole one counts. After a restart they are synced before anybody acts on them:
 * what a dead agent wrote may not be on the disk yet. A damaged one may have said anything, so the source then asks
 * (`withdraw`) instead of presuming. A record may be cleaned up when it is `settled`: nobody will ask about it again.
 *
 * **A copy that ran after COMMIT** because somebody else thawed it is no longer the one that the target holds: the
 * source then asks by `withdraw` rather than have the older one run.
 *
 * **A person** may decide alone what the other side would have to (choices.ts says at what risk). That is recorded with
 * `by: 'person'`, is told the other side when it is back, and what contradicts it is reported, never repaired by
 * ending a process.
 */

export type Decision = 'open' | 'commit' | 'abort';

/** What a side writes down: complete, whatever was written before. */
export interface CommitRecord {
  readonly decision: Decision;
  /** The freeze it is about; 0 before the first. */
  readonly epoch: number;
  /** 'person': the side was told to decide what the other one should have. */
  readonly by: 'rule' | 'person';
  /** Nobody will ask about it again. */
  readonly settled: boolean;
}

export const openRecord: CommitRecord = { decision: 'open', epoch: 0, by: 'rule', settled: false };

/** What a journal says: null when there is none, 'damaged' when its last record cannot be read. */
export type Recorded = CommitRecord | 'damaged' | null;

export type FromSource =
  | { readonly type: 'prepare' | 'reopen' | 'commit'; readonly epoch: number }
  | { readonly type: 'withdraw' | 'abort' | 'over' };

export type FromTarget =
  | { readonly type: 'prepared'; readonly epoch: number }
  | { readonly type: 'running' | 'aborted' | 'lost' | 'unknown' };

/** What a person should hear of. */
export type Notice =
  /** Held, and no answer comes. */
  | 'silent'
  /** Held: the target has no record of it. */
  | 'unknown'
  /** Held: the target took it over, and its host or shepherd died. */
  | 'lost-there'
  /** Somebody else let the held process run for a while; it is held again. */
  | 'thawed'
  /** It cannot be left at the source: it has ended there. */
  | 'gone'
  /** Decided by persons, against each other: two may run. */
  | 'two'
  /** Decided by persons, against each other: none runs any more. */
  | 'none';

/** Inputs that both sides have. */
export type CommonInput =
  /** A record is on the disk, or could not be brought there (it may be, all the same). */
  | { readonly type: 'written' | 'unwritten'; readonly decision: Decision }
  /** The link is there, for the first time or again. */
  | { readonly type: 'linked' }
  /** It is gone, or says nothing any more; for a shepherd also: its agent is. */
  | { readonly type: 'cut' }
  /** An answer is overdue. */
  | { readonly type: 'late' }
  /**
   * A person's `migrate resume` (carry the migration through) or `migrate abort` (leave the process at the source).
   * `alone`: without asking the other side, which may be gone for ever.
   */
  | { readonly type: 'resume' | 'abort'; readonly alone: boolean };

/** Outputs that both sides have. `write` is answered by 'written' or 'unwritten'; messages may get lost. */
export type CommonOutput<Message> =
  | { readonly type: 'send'; readonly message: Message }
  | { readonly type: 'write'; readonly record: CommitRecord }
  | { readonly type: 'say'; readonly notice: Notice };

/** What a machine does with an input: its next state, and what is to be done, in this order. */
export interface Step<State, Output> {
  readonly state: State;
  readonly outputs: readonly Output[];
}
