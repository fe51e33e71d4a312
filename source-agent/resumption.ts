/**
 * A hand-over that an earlier agent left open, brought to an end: by what the journal says, what the target answers, or
 * what a person decides (shared/commit/choices.ts says at what risk).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../native/index.js';
import { atSource } from '../shared/commit/choices.js';
import type { Notice, FromSource as Word } from '../shared/commit/index.js';
import { recoverSource } from '../shared/commit/source-side.js';
import { newSource, type SourceProcessState, type SourceState } from '../shared/commit/source-state.js';
import { asMigrationError, isKernelError, MigrationError } from '../shared/errors.js';
import { Journal } from '../shared/journal.js';
import { parseAddress } from '../shared/protocol/address.js';
import type { FromSource, FromTarget } from '../shared/protocol/messages.js';
import type { Secret } from '../shared/secret.js';
import { CommitDriver } from './commit-driver.js';
import { Conversation } from './conversation.js';
import { findHold, type Hold, prepareHold } from './hold.js';
import { Holder } from './holder.js';
import { isAlive } from './host-process.js';
import { greet } from './offer.js';

const SIGKILL = 9;
const answerMs = 10_000;
const endMs = 10_000;
const pauseMs = 5;

export interface ResumeOptions {
  /** Of the journals. */
  directory: string;
  migration: string;
  /** Read only where the target has to be asked. */
  secret: () => Secret;
  want: 'resume' | 'abort';
  /** A person decides it without asking the target. */
  alone: boolean;
}

export interface Resolution {
  migration: string;
  pid: number;
  name: string;
  peer: string;
  /** kept: it runs on here. moved: it is the target's. */
  outcome: 'kept' | 'moved';
  /** It is not here any more. */
  gone: boolean;
  /** What a person should know. */
  notices: readonly Notice[];
}

/**
 * Throws MigrationError: 'in-doubt' where it stays held, 'no-such-migration', 'migration-busy', 'journal-unusable', and
 * what keeps the target from being asked.
 */
export async function resume(options: ResumeOptions): Promise<Resolution> {
  using journal = await Journal.open(options.directory, options.migration, 'source');
  await using resumption = new Resumption(journal, options.directory);
  return await resumption.resolve(options);
}

class Resumption implements AsyncDisposable {
  readonly #driver: CommitDriver;
  readonly #holder: Holder;
  readonly #notices: Notice[] = [];
  #hold: Hold | null = null;
  #conversation: Conversation | null = null;

  constructor(
    private readonly journal: Journal,
    directory: string,
  ) {
    this.#holder = Holder.start(journal, directory);
    this.#holder.onThawed = () => this.#driver.feed({ type: 'thawed' });
    this.#driver = new CommitDriver(journal, {
      hold: () => this.#holder.hold(),
      release: () => this.#release(),
      end: () => this.#end(),
      send: (message) => this.#conversation?.say(this.#worded(message)),
      say: (notice) => void this.#notices.push(notice),
    });
  }

  async resolve({ secret, want, alone }: ResumeOptions): Promise<Resolution> {
    const driver = this.#driver;
    const process = await this.#takeProcess();
    const { recorded } = this.journal;
    // Its agent died before it could tell: the target may hold a copy, and waits.
    const untold = recorded !== null && recorded !== 'damaged' && recorded.decision === 'open';
    driver.begin(recoverSource(this.journal.recorded, process));
    await driver.idle();
    if (alone) driver.feed({ type: want, alone });
    await driver.idle();
    if (this.#isOpen || untold) await this.#ask(secret, want, alone, untold);
    const { at, gone } = driver.state;
    const { migration, pid, name, peer } = this.journal.identity;
    if (at !== 'kept' && at !== 'moved' && at !== 'none') throw this.#inDoubt(driver.failure);
    if (process !== 'gone' && at === 'kept' && driver.failure !== undefined) throw driver.failure;
    const outcome = at === 'moved' ? 'moved' : 'kept';
    return { migration, pid, name, peer, outcome, gone: gone || process === 'gone', notices: this.#notices };
  }

  /** Held again by a helper of ours, where it is or has to be held. */
  async #takeProcess(): Promise<SourceProcessState> {
    const { identity, recorded } = this.journal;
    if (!isAlive(identity)) return 'gone';
    const { pid, migration } = identity;
    const found = findHold(pid, migration);
    const isHeld = found?.holds === true;
    const mustBe = recorded === 'damaged' || recorded?.decision === 'commit';
    this.#hold = found ?? (mustBe ? prepareHold(pid, migration) : null);
    if (this.#hold) await this.#holder.take(this.#hold, isHeld);
    return isHeld ? 'held' : 'running';
  }

  /** Somebody may still have to be asked, or told. */
  get #isOpen(): boolean {
    const { at, settled } = this.#driver.state;
    return at === 'committed' || ((at === 'kept' || at === 'moved') && !settled);
  }

  /** Throws only where the process stays held without an answer. */
  async #ask(secret: () => Secret, want: 'resume' | 'abort', alone: boolean, untold: boolean): Promise<void> {
    const driver = this.#driver;
    const { migration, peer } = this.journal.identity;
    try {
      await using conversation = await Conversation.open({ target: parseAddress(peer), secret: secret() });
      this.#conversation = conversation;
      await greet(conversation);
      conversation.say({ type: 'recall', migration });
      if (want === 'abort' && !alone && driver.state.at === 'committed')
        driver.feed({ type: 'abort', alone });
      else driver.feed({ type: 'linked' });
      const until = performance.now() + answerMs;
      for (let unheard = untold; this.#isOpen || unheard; ) {
        const rest = Math.max(1, until - performance.now());
        const answer = await conversation.hear(rest, 'prepared', 'running', 'aborted', 'lost', 'unknown');
        this.#hear(answer);
        unheard &&= answer.type === 'prepared';
        await driver.idle();
        if (driver.state.doubt === 'lost-there' || driver.state.doubt === 'unknown') break;
      }
      // Nobody has to be asked any more: it stands as it was decided here.
      if (want === 'abort' && !alone && driver.state.doubt === 'lost-there')
        driver.feed({ type: 'abort', alone });
      await driver.idle();
    } catch (error) {
      driver.feed({ type: 'cut' });
      if (driver.state.at === 'committed') throw this.#inDoubt(error);
    } finally {
      this.#conversation = null;
    }
  }

  #hear(
    answer: Extract<FromTarget, { type: 'prepared' | 'running' | 'aborted' | 'lost' | 'unknown' }>,
  ): void {
    if (answer.type === 'prepared') {
      this.#driver.feed({ type: 'received', message: { type: 'prepared', epoch: answer.epoch } });
    } else if (answer.migration === this.journal.identity.migration) {
      this.#driver.feed({ type: 'received', message: { type: answer.type } });
    }
  }

  #release(): void {
    this.#holder.release();
  }

  async #end(): Promise<void> {
    const { identity } = this.journal;
    if (!isAlive(identity)) return;
    try {
      native.kill(identity.pid, SIGKILL);
    } catch (error) {
      if (!isKernelError(error, 'ESRCH')) throw error;
    }
    this.#holder.release();
    for (const deadline = performance.now() + endMs; isAlive(identity); await sleep(pauseMs))
      if (performance.now() > deadline)
        throw new MigrationError('internal', `the end of process ${identity.pid} here took too long`);
  }

  #worded(message: Word): FromSource {
    const { migration } = this.journal.identity;
    switch (message.type) {
      case 'commit':
        return { type: 'commit', migration, epoch: message.epoch };
      case 'abort':
        return { type: 'abort', migration, reason: 'it goes on at the source' };
      case 'prepare':
      case 'reopen':
        throw new Error(`"${message.type}" belongs to a migration that goes on`);
      default:
        return { type: message.type, migration };
    }
  }

  #inDoubt(cause: unknown): MigrationError {
    const { migration, pid } = this.journal.identity;
    const why = describe(this.#driver.state, cause);
    const what = `migration ${migration}: process ${pid} stays held: ${why}`;
    return new MigrationError('in-doubt', what, { pid, object: migration }, { cause });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#driver.idle();
    const { at } = this.#driver.state;
    if (at === 'kept' || at === 'moved') await this.#holder.remove().catch(() => undefined);
    await this.#holder[Symbol.asyncDispose]();
  }
}

function describe(state: SourceState, cause: unknown): string {
  if (state.doubt === 'lost-there' || state.doubt === 'unknown')
    return atSource({ ...newSource, ...state, at: 'committed' })!.what;
  return cause === undefined ? 'the target has not answered' : asMigrationError(cause).message;
}
