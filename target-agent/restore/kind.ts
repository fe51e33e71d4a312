/**
 * What a kind of kernel object offers to the target. `settle` does all that can be done while the source still runs;
 * `finish` is in the freeze and does what is left, from the state as it is at last.
 */
import type { Kind } from '../../shared/kinds.js';
import type { State } from '../../shared/state/index.js';
import type { OpenFiles } from '../open-files.js';
import type { Skeleton } from '../skeleton.js';

export interface Restoring {
  skeleton: Skeleton;
  state: State;
  files: OpenFiles;
  /** Lines for the report: what is not quite as it was. */
  notes: string[];
}

export interface Restore {
  settle?(restoring: Restoring): void;
  /** `changed`: kinds whose state is not the settled one. */
  finish?(restoring: Restoring, changed: ReadonlySet<Kind>): void;
}
