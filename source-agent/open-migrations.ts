/** What earlier agents of this host have left open about a process: no other move of it begins before that is over. */
import { MigrationError } from '../shared/errors.js';
import { cleanJournals, type ListedJournal, listJournals } from '../shared/journal.js';
import { durableDirectory, openDurableDirectory } from '../shared/state-directory.js';
import { detectImpossible } from './blockers.js';
import { FreezerCgroup } from './freezer-cgroup.js';
import { holdName, isHoldName } from './hold.js';
import { hostProcess, identify, isSame } from './host-process.js';
import type { MigrationOptions } from './options.js';
import { resume } from './resumption.js';
import { SourceProcess } from './source-process.js';

/** Records of what is over are of use to whoever looks for what became of a process. */
const keepMs = 7 * 24 * 3600 * 1000;

/**
 * The folder of the journals; made where there is none. Throws MigrationError 'journal-unusable', but what stands in the
 * way of moving the process at all is the better reason.
 */
export function openJournals({ pid, stateDirectory }: MigrationOptions): string {
  try {
    return openDurableDirectory(durableDirectory(stateDirectory));
  } catch (error) {
    const impossible = detectImpossible(pid);
    if (impossible.length > 0) throw MigrationError.refused(impossible);
    SourceProcess.open(pid)[Symbol.dispose]();
    throw error;
  }
}

/**
 * Throws MigrationError 'migration-busy' where an agent moves this very process, and what resume() throws where an earlier
 * move is in doubt; then nothing has been begun.
 */
export async function bringToEnd(directory: string, { pid, secret }: MigrationOptions): Promise<void> {
  cleanJournals(directory, keepMs);
  const open = listJournals(directory).filter(isOpen);
  // Not those of agents that are at work.
  const working = new Set(open.map(({ migration }) => holdName(migration)));
  if (hostProcess(pid)) FreezerCgroup.sweep(pid, (name) => isHoldName(name) && !working.has(name));
  if (open.length === 0) return;
  const process = hostProcess(pid) && identify(pid);
  if (!process) return;
  for (const { identity, migration } of open) {
    if (!identity || !isSame(identity, process)) continue;
    const options = { directory, migration, secret: () => secret, want: 'resume', alone: false } as const;
    const { outcome } = await resume(options);
    if (outcome === 'kept') continue;
    const what = `migration ${migration} has moved process ${pid} to ${identity.peer} already: it was ended here`;
    throw new MigrationError('process-ended', what, { pid, object: migration });
  }
}

function isOpen({ role, entry }: ListedJournal): boolean {
  return role === 'source' && (entry === 'damaged' || !entry.settled);
}
