/**
 * One migration's part in the hand-over: its journal, its holder, and the machine that decides with them. Made before
 * anything in the process is touched; a scope that leaves nothing behind unless the process is held for a reason.
 */

import type { Notice, FromSource as Word } from '../shared/commit/index.js';
import { openRecord } from '../shared/commit/index.js';
import { asMigrationError, MigrationError } from '../shared/errors.js';
import { Journal } from '../shared/journal.js';
import type { FromSource, FromTarget } from '../shared/protocol/messages.js';
import { CommitDriver } from './commit-driver.js';
import type { Conversation } from './conversation.js';
import { endSource } from './ending.js';
import type { FrozenProcess } from './frozen-process.js';
import { type Hold, prepareHold } from './hold.js';
import { Holder } from './holder.js';
import { identify } from './host-process.js';

const reasonCharacters = 4096;

type Finish = Extract<FromSource, { type: 'finish' }>;

export class Commitment implements AsyncDisposable {
  readonly driver: CommitDriver;
  readonly #notices: Notice[] = [];
  readonly #holder: Holder;
  #hold: Hold | null = null;
  #frozen: FrozenProcess | null = null;
  #finish: ((epoch: number) => Finish) | null = null;
  #reason = '';
  /** What could not be done of its end here. */
  left: string | null = null;

  private constructor(
    private readonly journal: Journal,
    directory: string,
    conversation: Conversation,
  ) {
    this.#holder = Holder.start(journal, directory);
    this.#holder.onThawed = () => this.driver.feed({ type: 'thawed' });
    this.driver = new CommitDriver(journal, {
      hold: () => this.#holdProcess(),
      release: () => this.#release(),
      end: () => this.#end(),
      send: (message) => conversation.say(this.#worded(message)),
      say: (notice) => void this.#notices.push(notice),
    });
  }

  /** `directory`: see shared/state-directory.ts. Throws MigrationError 'journal-unusable', 'no-such-process'. */
  static begin(
    directory: string,
    migration: string,
    pid: number,
    peer: string,
    conversation: Conversation,
  ): Commitment {
    const journal = Journal.create(directory, {
      ...identify(pid),
      migration,
      role: 'source',
      peer,
      createdMs: Date.now(),
    });
    return new Commitment(journal, directory, conversation);
  }

  get migration(): string {
    return this.journal.identity.migration;
  }

  /** All that the freeze would have to wait for else. The process is in its cgroup from here on. */
  async prepare(): Promise<void> {
    this.#hold = prepareHold(this.journal.identity.pid, this.migration);
    await this.#holder.take(this.#hold);
    // The first one takes longer than those that follow.
    await this.journal.record(openRecord);
  }

  /** What a person should know of how it is held; null where nothing. */
  get note(): string | null {
    const why = this.#hold?.why ?? null;
    return why === null ? null : `the source was held by SIGSTOP, which a SIGCONT undoes: ${why}`;
  }

  /** The process stands still: where it is given up, this is to be thawed. */
  stopped(frozen: FrozenProcess): void {
    this.#frozen = frozen;
  }

  /** All of it has been sent. `finish` tells the target so. */
  sent(finish: (epoch: number) => Finish): void {
    this.#finish = finish;
    this.driver.feed({ type: 'frozen' });
  }

  hear(
    message: Extract<FromTarget, { type: 'prepared' | 'running' | 'aborted' | 'lost' | 'unknown' }>,
  ): void {
    if (message.type === 'prepared') {
      this.driver.feed({ type: 'received', message: { type: 'prepared', epoch: message.epoch } });
    } else if (message.migration === this.migration) {
      this.driver.feed({ type: 'received', message: { type: message.type } });
    }
  }

  /**
   * The process goes on here, and the target is told. Nothing where the decision was made already: from then on it
   * is not for a failure to undo.
   */
  async giveUp(failure: MigrationError): Promise<void> {
    this.#reason = failure.message.slice(0, reasonCharacters);
    if (this.driver.state.at === 'committed') return;
    this.driver.feed({ type: 'abort', alone: false });
    await this.driver.idle();
  }

  /** It stays held. */
  inDoubt(cause: unknown): MigrationError {
    this.#frozen?.abandon();
    const { pid } = this.journal.identity;
    const lost = this.#notices.includes('lost-there');
    const unknown = this.#notices.includes('unknown');
    const why = lost
      ? 'the target took it over and lost it'
      : unknown
        ? 'the target has no record of it'
        : asMigrationError(cause).message;
    const what = `migration ${this.migration}: the target did not confirm the hand-over of process ${pid}: ${why}`;
    return new MigrationError('in-doubt', what, { pid, phase: 'commit', object: this.migration }, { cause });
  }

  #holdProcess(): void {
    this.#frozen?.holdAll();
    this.#holder.hold();
  }

  #release(): void {
    try {
      this.#holder.release();
    } finally {
      this.#frozen?.[Symbol.dispose]();
    }
  }

  async #end(): Promise<void> {
    if (this.#frozen) this.left = endSource(this.#frozen, () => this.#holder.release());
  }

  #worded(message: Word): FromSource {
    const { migration } = this;
    switch (message.type) {
      case 'prepare':
        return this.#finish!(message.epoch);
      case 'commit':
        return { type: 'commit', migration, epoch: message.epoch };
      case 'abort':
        return { type: 'abort', migration, reason: this.#reason };
      case 'reopen':
        throw new Error('a freeze is not repeated once it has been sent');
      default:
        return { type: message.type, migration };
    }
  }

  /** The holder decides what becomes of a process that is still held. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.driver.idle();
    const { at } = this.driver.state;
    if (at === 'kept' || at === 'moved') await this.#holder.remove().catch(() => undefined);
    this.journal[Symbol.dispose]();
    await this.#holder[Symbol.asyncDispose]();
  }
}
