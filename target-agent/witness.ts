/**
 * Answers for a migration whose shepherd is gone, as far as the journal knows: the host was started anew, the shepherd
 * was killed, or its process has ended. Lives as long as somebody asks.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { FromTarget } from '../shared/commit/index.js';
import { recoverTarget } from '../shared/commit/target-side.js';
import { asMigrationError, MigrationError } from '../shared/errors.js';
import { Journal } from '../shared/journal.js';
import { Agents } from './agents.js';
import { messageDescriptor } from './child-process.js';
import { Door, removeDoor } from './door.js';
import { type HandedOver, HandOver } from './hand-over.js';
import { endKnown, stateOf } from './known-process.js';
import type { ToHeld } from './local-messages.js';
import { heard, isWord, messageOf, parseEnding } from './words.js';

const [stateDirectory, migration] = process.argv.slice(2) as [string, string];

class Witness implements HandedOver {
  readonly #agents = new Agents(messageDescriptor, {
    onMessage: (message) => {
      if (isWord(message) || message.type === 'recall') this.#hear(message);
    },
    onLater: (message) => this.#hear(message),
    onLeft: () => this.settled(),
  });
  readonly #handOver: HandOver;
  /** Why it never ran, where that was not known before. */
  readonly #why: string | null;

  constructor(private readonly journal: Journal | null) {
    const isOpen =
      journal !== null && journal.recorded !== 'damaged' && journal.recorded?.decision === 'open';
    this.#why = isOpen ? 'the shepherd that held the process is gone, and the process with it' : null;
    const start = journal
      ? recoverTarget(journal.recorded, stateOf(journal.identity, journal.detail))
      : recoverTarget(null, 'none');
    // Without a journal nothing is ever recorded: the machine has nothing to say but that.
    const records = journal ?? { record: () => Promise.reject(new Error('there is no journal')) };
    this.#handOver = new HandOver(records, this, start, journal?.detail);
  }

  #hear(message: ToHeld): void {
    if (message.migration !== migration) return;
    if (isWord(message)) this.#handOver.feed({ type: 'received', message: heard(message) });
    else this.#handOver.recall();
  }

  complete(): Promise<void> {
    return Promise.reject(new MigrationError('internal', 'a witness has nothing to complete'));
  }

  run(): void {
    throw new MigrationError('internal', 'a witness has nothing to run');
  }

  discard(): void {
    if (this.journal) endKnown(this.journal.identity);
  }

  tell(word: FromTarget): void {
    const log = path.join(stateDirectory, `${migration}.log`);
    this.#agents.tell(
      messageOf(word, {
        migration,
        // Only a journal says that it runs, and that knows the pid.
        pid: this.journal?.identity.pid ?? 0,
        ended: parseEnding(this.journal?.detail ?? ''),
        phases: {},
        notes: [],
        log: existsSync(log) ? log : null,
        what: this.#why,
      }),
    );
  }

  notice(notice: string): void {
    console.error(`migration ${migration}: ${notice}`);
  }

  /** Others who ask find it as they would find the shepherd. */
  async open(): Promise<void> {
    removeDoor(stateDirectory, migration);
    const door = await Door.open(stateDirectory, migration, (socket) => this.#agents.add(socket));
    process.once('exit', () => door.close());
  }

  /** A record that is under way is not given up. */
  settled(): void {
    if (this.#handOver?.idle && this.#agents.allLeft) process.exit(0);
  }
}

async function findJournal(): Promise<Journal | null> {
  try {
    return await Journal.open(stateDirectory, migration, 'target');
  } catch (error) {
    if (error instanceof MigrationError && error.code === 'no-such-migration') return null;
    throw error;
  }
}

try {
  const journal = await findJournal();
  const witness = new Witness(journal);
  if (journal) await witness.open();
} catch (error) {
  // Whoever asked sees that it is gone.
  console.error(`migration ${migration}: ${asMigrationError(error).message}`);
  process.exit(1);
}
