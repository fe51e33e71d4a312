/** What the source's side of the hand-over may be, hear and do: source-side.ts is the machine. */
import type { CommitRecord, CommonInput, CommonOutput, FromSource, FromTarget, Step } from './index.js';

export interface SourceState {
  readonly at: /** There is no record of it. */
    | 'none'
    /** It runs here, or is stopped by an agent whose death lets it run on. */
    | 'open'
    /** It stands still and all has been sent: `prepared` is due. */
    | 'asked'
    /** The holder is to hold it. */
    | 'holding'
    /** COMMIT is being recorded. */
    | 'recording'
    /** COMMIT is recorded: the target has the last word. */
    | 'committed'
    /** ABORT is being recorded in its place. */
    | 'returning'
    /** That it has moved is being recorded. */
    | 'leaving'
    /** The copy here is being ended. */
    | 'ending'
    /** Over: it runs on here. */
    | 'kept'
    /** Over: it is the target's. */
    | 'moved';
  /** The last freeze. */
  readonly epoch: number;
  readonly by: CommitRecord['by'];
  readonly settled: boolean;
  /** What a committed source says to the target. */
  readonly asks: 'commit' | 'withdraw';
  /** The process here has ended: the target's copy is the last. */
  readonly gone: boolean;
  /** Why it is still held, where a person should know. */
  readonly doubt: 'silent' | 'unknown' | 'lost-there' | null;
}

/** The process on the source, as it is found: 'held' by what outlives agents, 'gone' when it has ended. */
export type SourceProcessState = 'running' | 'held' | 'gone';

export type SourceInput =
  | CommonInput
  | { readonly type: 'received'; readonly message: FromTarget }
  /** The last pages have been sent, the process stands still. */
  | { readonly type: 'frozen' }
  /** In place of giving up: let it run on and freeze it again later. */
  | { readonly type: 'retry' }
  /** What became of 'hold'. */
  | { readonly type: 'held' | 'unheld' }
  /** Somebody else let the held process run. */
  | { readonly type: 'thawed' }
  /** The process here has ended, by us or by others. */
  | { readonly type: 'ended' };

export type SourceOutput =
  | CommonOutput<FromSource>
  /** Keep it stopped whatever becomes of the agent. Answered by 'held' or 'unheld'. */
  | { readonly type: 'hold' }
  /** Let it run on as it was, however it is stopped; nothing where it has ended or runs. */
  | { readonly type: 'release' }
  /** End it silently. Answered by 'ended', also where it is gone already. */
  | { readonly type: 'end' };

export type SourceStep = Step<SourceState, SourceOutput>;

export const newSource: SourceState = {
  at: 'open',
  epoch: 0,
  by: 'rule',
  settled: false,
  asks: 'commit',
  gone: false,
  doubt: null,
};
