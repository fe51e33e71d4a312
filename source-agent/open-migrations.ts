/** What earlier agents of this host have left open about a process: no other move of it begins before that is over. */
import { MigrationError } from '../shared/errors.js';
import { cleanJournals, type ListedJournal, listJournals } from '../shared/journal.js';
import { identify, isSame } from './host-process.js';
import type { MigrationOptions } from './options.js';
import { resume } from './resumption.js';

/** Records of what is over are of use to whoever looks for what became of a process. */
const keepMs = 7 * 24 * 3600 * 1000;

/**
 * Throws MigrationError 'migration-busy' where an agent moves this very process, and what resume() throws where an earlier
 * move is in doubt; then nothing has been begun.
 */
export async function bringToEnd(directory: string, { pid, secret }: MigrationOptions): Promise<void> {
  cleanJournals(directory, keepMs);
  const open = listJournals(directory).filter(isOpen);
  if (open.length === 0) return;
  const process = identify(pid);
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
