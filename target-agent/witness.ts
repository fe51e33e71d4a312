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
import type { WireValue } from '../shared/protocol/codec.js';
import { LocalChannel } from '../shared/protocol/local.js';
import { messageDescriptor } from './child-process.js';
import { removeDoor } from './door.js';
import { type HandedOver, HandOver } from './hand-over.js';
import { endKnown, stateOf } from './known-process.js';
import { type FromShepherd, ToHeld } from './local-messages.js';
import { heard, isWord, messageOf, parseEnding } from './words.js';

const [stateDirectory, migration] = process.argv.slice(2) as [string, string];

const agent = new LocalChannel<ToHeld, WireValue>(messageDescriptor, { schema: ToHeld, peer: 'the agent' });

class Witness implements HandedOver {
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

  hear(message: ToHeld): void {
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
    say(
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

  settled(): void {
    if (agent.ended) process.exit(0);
  }

  /** The agent is gone; a record that is under way is not given up. */
  leave(): void {
    if (this.#handOver.idle) process.exit(0);
  }
}

function say(message: FromShepherd): void {
  if (!agent.ended) agent.send(message as unknown as WireValue);
}

async function findJournal(): Promise<Journal | null> {
  try {
    const journal = await Journal.open(stateDirectory, migration, 'target');
    removeDoor(stateDirectory, migration);
    return journal;
  } catch (error) {
    if (error instanceof MigrationError && error.code === 'no-such-migration') return null;
    throw error;
  }
}

try {
  const witness = new Witness(await findJournal());
  agent.onMessage((message) => witness.hear(message));
  agent.onEnd(() => witness.leave());
} catch (error) {
  const { code, message } = asMigrationError(error);
  say({ type: 'failed', code, what: message.slice(0, 4096) });
  await agent.close();
  process.exit(1);
}
