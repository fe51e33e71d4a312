/** What the journals of this host say, in plain words: who has what, what is waited for, what each choice risks. */
import { atSource, type Choice } from '../shared/commit/choices.js';
import { recoverSource } from '../shared/commit/source-side.js';
import { isBusy, type ListedJournal, listJournals } from '../shared/journal.js';
import type { Identity } from '../shared/journal-format.js';
import { recordOf } from '../shared/journal-format.js';
import { findHold } from '../source-agent/hold.js';
import { isAlive } from '../source-agent/host-process.js';

export interface Listed {
  migration: string;
  /** Which side of it this host is. */
  role: 'source' | 'target';
  pid: number;
  name: string;
  peer: string;
  sinceMs: number;
  /** working: an agent is at it. waiting: somebody has to do something. */
  state: 'working' | 'waiting' | 'over';
  what: string;
  choices: readonly Choice[];
}

type Words = Pick<Listed, 'state' | 'what' | 'choices'>;

/** Newest last. Nothing is changed. Throws where the folder cannot be read; there may be none. */
export function listSituations(directory: string): Listed[] {
  let journals: ListedJournal[];
  try {
    journals = listJournals(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return journals
    .map((journal) => {
      const { migration, role, identity } = journal;
      const busy = isBusy(directory, migration, role);
      const words = role === 'source' ? ofSource(journal, busy) : ofTarget(journal, busy);
      const { pid, name, peer, createdMs } = identity ?? unreadable;
      return { migration, role, pid, name, peer, sinceMs: createdMs, ...words };
    })
    .sort((a, b) => a.sinceMs - b.sinceMs);
}

const unreadable = { pid: 0, name: '?', peer: '?', createdMs: 0 };

function ofSource({ identity, entry }: ListedJournal, busy: boolean): Words {
  if (!identity) return waiting('Its record is damaged: it does not say which process it is about.');
  const alive = isAlive(identity);
  if (entry !== 'damaged' && entry.settled) {
    if (entry.decision === 'commit') return over('It has moved.');
    return over(alive ? 'It was not moved: it goes on here.' : 'It was not moved, and has ended since.');
  }
  if (busy) {
    const decided = entry === 'damaged' || entry.decision !== 'open';
    return {
      state: 'working',
      what: decided ? 'It is being handed over.' : 'It is being moved.',
      choices: [],
    };
  }
  const record = entry === 'damaged' ? entry : recordOf(entry);
  const found = alive ? (isHeld(identity) ? 'held' : 'running') : 'gone';
  const { state } = recoverSource(record, found);
  const situation = atSource(state);
  if (situation) return { state: 'waiting', ...situation };
  const resume = (what: string): Choice => ({ command: 'resume', alone: false, what, risk: null });
  if (record === 'damaged' || record.decision === 'open') {
    const here =
      found === 'running' ? 'it goes on here' : found === 'held' ? 'it stands still here' : 'it has ended';
    return {
      ...waiting(`Its agent died before the hand-over: ${here}.`),
      choices: [resume(found === 'held' ? 'let it run on here' : 'tidy up after the agent')],
    };
  }
  const decided = record.decision === 'abort' ? 'let it go on here' : 'end it here';
  return {
    ...waiting(
      `A person or the target decided to ${decided}; that is not done, or the target does not know it yet.`,
    ),
    choices: [resume('do it, and tell the target')],
  };
}

function ofTarget({ identity, entry }: ListedJournal, busy: boolean): Words {
  const alive = identity !== null && isAlive(identity);
  if (entry === 'damaged') return waiting('Its record is damaged.');
  if (entry.decision === 'abort') return over('It was not taken over.');
  if (entry.decision === 'commit') {
    if (busy || alive) return over('It was taken over, and runs here.');
    return over(`It was taken over, and has ended${entry.detail === '' ? '' : ` (${entry.detail})`}.`);
  }
  if (busy) return { state: 'working', what: 'It is being received, or waits for its source.', choices: [] };
  return waiting('It was being received when its agent died: the source keeps it, or asks again.');
}

function isHeld({ pid, migration }: Identity): boolean {
  try {
    using hold = findHold(pid, migration);
    return hold?.holds === true;
  } catch {
    return false; // it has ended meanwhile
  }
}

function over(what: string): Words {
  return { state: 'over', what, choices: [] };
}

function waiting(what: string): Words {
  return { state: 'waiting', what, choices: [] };
}
