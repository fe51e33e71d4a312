/** All kinds, captured in the order of their declarations. */
import type { Blocker } from '../../shared/errors.js';
import { type Kind, kindsInOrder } from '../../shared/kinds.js';
import type { State } from '../../shared/state/index.js';
import type { Inspection } from '../inspection.js';
import type { PipeCensus } from '../pipe-census.js';
import { captureCredentials } from './credentials.js';
import { captureDirectories } from './directories.js';
import { captureFiles } from './files.js';
import { captureHostname } from './hostname.js';
import type { Capture, Captured } from './kind.js';
import { captureLimits } from './limits.js';
import { captureMemory } from './memory.js';
import { capturePipes } from './pipes.js';
import { captureProcess } from './process.js';
import { Questions } from './questions.js';
import { captureSignals } from './signals.js';
import { captureThreads } from './threads.js';
import { captureTimers } from './timers.js';

const captures: { [K in Kind]: Capture<K> } = {
  process: captureProcess,
  hostname: captureHostname,
  files: captureFiles,
  pipes: capturePipes,
  directories: captureDirectories,
  memory: captureMemory,
  limits: captureLimits,
  threads: captureThreads,
  signals: captureSignals,
  timers: captureTimers,
  credentials: captureCredentials,
};

export function detectAll(inspection: Inspection, pipes: PipeCensus): Blocker[] {
  return kindsInOrder().flatMap((kind) => captures[kind].detect?.(inspection, pipes) ?? []);
}

export function captureAll(captured: Captured): State {
  const questions = new Questions(captured.frozen);
  const kinds = kindsInOrder();
  const readers = kinds.map((kind): (() => unknown) => captures[kind].capture(captured, questions));
  questions.ask();
  return Object.fromEntries(kinds.map((kind, i) => [kind, readers[i]!()])) as unknown as State;
}
