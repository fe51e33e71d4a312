/** What a kind of kernel object offers to the source: a look for preflight, and its state once all is stopped. */
import type { Blocker } from '../../shared/errors.js';
import type { Kind } from '../../shared/kinds.js';
import type { State } from '../../shared/state/index.js';
import type { FrozenProcess } from '../frozen-process.js';
import type { Inspection, OpenDescriptor } from '../inspection.js';
import type { PipeCensus } from '../pipe-census.js';
import type { ProcessView } from '../source-process.js';
import type { Questions } from './questions.js';

/** A stopped process with what was read of it since it stopped. */
export interface Captured {
  frozen: FrozenProcess;
  view: ProcessView;
  descriptors: OpenDescriptor[];
  pipes: PipeCensus;
}

export interface Capture<K extends Kind> {
  /** Everything of this kind that stands in the way, seen without touching the process. */
  detect?(inspection: Inspection, pipes: PipeCensus): Blocker[];
  /**
   * Puts its questions, and returns what makes the state once they are answered, which throws MigrationError for what
   * only shows then.
   */
  capture(captured: Captured, questions: Questions): () => State[K];
}
