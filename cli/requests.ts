/** What the command line asks for, checked: what the commands get. */

import type { ErrorCode } from '../shared/errors.js';
import type { Address } from '../shared/protocol/address.js';
import type { MigrationOptions } from '../source-agent/options.js';

export interface MigrateRequest
  extends Pick<
    MigrationOptions,
    | 'pid'
    | 'target'
    | 'maxDowntimeMs'
    | 'maxRounds'
    | 'bandwidth'
    | 'onStall'
    | 'stdio'
    | 'compareContents'
    | 'force'
    | 'compress'
    | 'tracker'
  > {
  /** Of the records of hand-overs; undefined for the usual place. */
  stateDirectory: string | undefined;
  secretFile: string | undefined;
  json: boolean;
  quiet: boolean;
}

export interface AgentRequest {
  listen: Address;
  secretFile: string | undefined;
  stateDirectory: string;
  allowForce: readonly ErrorCode[];
  user: string | undefined;
}

export interface CheckRequest {
  pid: number;
  target: Address | null;
  secretFile: string | undefined;
  stdio: string;
  compareContents: boolean;
  force: readonly ErrorCode[];
  json: boolean;
}

export interface StatusRequest {
  stateDirectory: string | undefined;
  watch: boolean;
  json: boolean;
}

/** `migrate resume` and `migrate abort`. */
export interface DecisionRequest {
  want: 'resume' | 'abort';
  migration: string;
  /** Without asking the target. */
  force: boolean;
  secretFile: string | undefined;
  stateDirectory: string | undefined;
  json: boolean;
}

/** One function for each command; each returns the exit code or throws what formatFailure can tell. */
export interface Commands {
  migrate(request: MigrateRequest): Promise<number>;
  agent(request: AgentRequest): Promise<number>;
  check(request: CheckRequest): Promise<number>;
  status(request: StatusRequest): Promise<number>;
  decide(request: DecisionRequest): Promise<number>;
  secret(): Promise<number>;
  demo(): Promise<number>;
}
