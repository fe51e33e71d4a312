/** What a migration can be told; the command line makes one of these. */
import type { ErrorCode } from '../shared/errors.js';
import type { Address } from '../shared/protocol/address.js';
import type { Secret } from '../shared/secret.js';
import type { MigrationEvent } from './report.js';
import type { TrackerName } from './tracker/index.js';

export interface MigrationOptions {
  pid: number;
  target: Address;
  secret: Secret;
  /** Longest frozen time that is fine, in milliseconds. Default 30. */
  maxDowntimeMs: number;
  /** Most rounds before the freeze. Default 30. */
  maxRounds: number;
  /** Bytes a second on the wire; 0 for no limit. */
  bandwidth: number;
  /** What to do when the rounds do not get shorter: freeze all the same, or give up. Default force. */
  onStall: 'force' | 'cancel';
  /** Where standard streams that lead out of the process go on the target: 'log', 'null' or an absolute path. */
  stdio: string;
  /** Compare contents even of files that both sides see as the same inode. */
  compareContents: boolean;
  /** Differences of the hosts that are accepted, by their codes: see shared/force.ts. */
  force: readonly ErrorCode[];
  /** Compress pages: auto (when the link is slow), always, never. */
  compress: 'auto' | 'always' | 'never';
  /** How written pages are found: auto takes the best that works. */
  tracker: TrackerName | 'auto';
  /** Where the records of the hand-over are kept: see shared/state-directory.ts. */
  stateDirectory?: string | undefined;
  onEvent: (event: MigrationEvent) => void;
  /** Aborts the migration; before the decision only. */
  signal?: AbortSignal;
}

export const defaultOptions = {
  maxDowntimeMs: 30,
  maxRounds: 30,
  bandwidth: 0,
  onStall: 'force',
  stdio: 'log',
  compareContents: false,
  force: [],
  compress: 'auto',
  tracker: 'auto',
} as const satisfies Partial<MigrationOptions>;
