/** What a migration tells while it goes on, and at its end. `--json` prints these objects one a line. */
import type { Blocker, MigrationError } from '../shared/errors.js';
import type { TrackerName } from './tracker/index.js';

/** One round of pre-copy has landed. */
export interface RoundEvent {
  event: 'round';
  /** 0 is the first, full round. */
  round: number;
  /** closing: one of the short rounds right before the freeze. */
  closing: boolean;
  pages: number;
  /** Pages of zeros: marked on the wire, or not sent at all. */
  zeroPages: number;
  /** Bytes on the page channel. */
  wireBytes: number;
  durationMs: number;
  /** Bytes of memory a second, sent. */
  rateBytesPerSecond: number;
  /** Bytes of memory a second that the program dirtied since the round before; null for round 0. */
  dirtyBytesPerSecond: number | null;
  predictedDowntimeMs: number;
}

/** A step of the walk begins. */
export interface StepEvent {
  event: 'step';
  step:
    | 'inspect'
    | 'connect'
    | 'preflight'
    | 'arm'
    | 'build'
    | 'rounds'
    | 'settle'
    | 'freeze'
    | 'commit'
    | 'end';
}

/** How written pages will be found: told once the program is armed. */
export interface TrackerEvent {
  event: 'tracker';
  tracker: TrackerName;
  /** Why this one: the rest of a sentence. */
  why: string;
}

/** The walk begins anew, because the process executed another program. */
export interface RestartEvent {
  event: 'restart';
  /** 2 for the second start. */
  start: number;
  /** How often it starts before it gives up. */
  most: number;
  what: string;
}

export type MigrationEvent = RoundEvent | StepEvent | TrackerEvent | RestartEvent;

/** The result: the last line of `--json`. */
export interface Report {
  event: 'result';
  outcome: 'moved';
  /** Pid of the source as the source's agent saw it. */
  sourcePid: number;
  /** Pid of the restored process as the target's agent sees it. */
  targetPid: number;
  /** Its pid as it sees itself: the same on both sides. */
  innerPid: number;
  rounds: number;
  /** By what they were: bytes. */
  bytes: { memory: number; wire: number; zero: number; lastRound: number };
  totalMs: number;
  /** From the first thread stopped to the last one running. */
  frozenMs: number;
  /** Parts of the frozen time by name: freeze, capture, scan, send, restore, hold, record, switch. */
  phases: Record<string, number>;
  /** How written pages were found, and why so. */
  tracker: TrackerName;
  trackerWhy: string;
  /** What a person should know: a new session, a stream that leads elsewhere now. */
  notes: string[];
  /** Where standard streams of the restored process go on the target; null if nowhere. */
  log: string | null;
}

/** The last line of `--json` where the process was not moved. */
export interface FailureReport {
  event: 'result';
  outcome: 'refused' | 'failed' | 'aborted' | 'in-doubt';
  code: MigrationError['code'];
  what: string;
  advice: string;
  sourcePid: number;
  blockers: readonly ExplainedBlocker[];
}

/** A blocker with what the catalogue says of it. */
export interface ExplainedBlocker extends Blocker {
  advice: string;
  /** What would become of the program on the target; null where that is not the matter. */
  breaks: string | null;
  /** --force with its code accepts it. */
  forceable: boolean;
}
