/** All kinds, restored in the order of their declarations. */
import { type Kind, kindsInOrder } from '../../shared/kinds.js';
import { restoreCredentials } from './credentials.js';
import { restoreDirectories } from './directories.js';
import { restoreFiles } from './files.js';
import { restoreHostname } from './hostname.js';
import type { Restore, Restoring } from './kind.js';
import { restoreLimits } from './limits.js';
import { restoreMemory } from './memory.js';
import { restorePipes } from './pipes.js';
import { restoreProcess } from './process.js';
import { restoreSignals } from './signals.js';
import { restoreThreads } from './threads.js';
import { restoreTimers } from './timers.js';

const restores: Record<Kind, Restore> = {
  process: restoreProcess,
  hostname: restoreHostname,
  files: restoreFiles,
  pipes: restorePipes,
  directories: restoreDirectories,
  memory: restoreMemory,
  limits: restoreLimits,
  threads: restoreThreads,
  signals: restoreSignals,
  timers: restoreTimers,
  credentials: restoreCredentials,
};

export function settleAll(restoring: Restoring): void {
  for (const kind of kindsInOrder()) restores[kind].settle?.(restoring);
}

export function finishAll(restoring: Restoring, changed: ReadonlySet<Kind>): void {
  for (const kind of kindsInOrder()) restores[kind].finish?.(restoring, changed);
}
