/** The state of a process, by kind: what travels apart from the pages. */
import * as v from 'valibot';
import type { Kind } from '../kinds.js';
import { CredentialsState } from './credentials.js';
import { DirectoriesState } from './directories.js';
import { FilesState } from './files.js';
import { HostnameState } from './hostname.js';
import { LimitsState } from './limits.js';
import { MemoryState } from './memory.js';
import { PipesState } from './pipes.js';
import { ProcessState } from './process.js';
import { SignalsState } from './signals.js';
import { ThreadsState } from './threads.js';
import { TimersState } from './timers.js';

export const schemas = {
  process: ProcessState,
  hostname: HostnameState,
  files: FilesState,
  pipes: PipesState,
  directories: DirectoriesState,
  memory: MemoryState,
  limits: LimitsState,
  threads: ThreadsState,
  signals: SignalsState,
  timers: TimersState,
  credentials: CredentialsState,
} satisfies Record<Kind, v.GenericSchema>;

export type State = { [K in Kind]: v.InferOutput<(typeof schemas)[K]> };

export const CompleteState = v.strictObject(schemas);
/** Kinds that changed since they were last sent. */
export const PartialState = v.partial(CompleteState);
export type PartialState = v.InferOutput<typeof PartialState>;
