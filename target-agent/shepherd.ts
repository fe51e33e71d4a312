/**
 * One process for each migration: it builds the skeleton, holds it at the start line, is the parent of the migrated
 * process afterwards, and reports its end. It outlives the agent. Until it has said `prepared` the end of the agent ends
 * the skeleton; from then on only the hand-over does (hand-over.ts), and whoever asks later finds it at its door.
 */
import path from 'node:path';
import { type ChildStatus, native } from '../native/index.js';
import type { Notice, FromTarget as Told } from '../shared/commit/index.js';
import { newTarget } from '../shared/commit/target-side.js';
import { asMigrationError, MigrationError } from '../shared/errors.js';
import { Journal } from '../shared/journal.js';
import { pauseOptimizer } from '../shared/optimizer.js';
import { Agents } from './agents.js';
import { messageDescriptor, transferDescriptor } from './child-process.js';
import { Door } from './door.js';
import { type HandedOver, HandOver } from './hand-over.js';
import { Judgement } from './judgement.js';
import { bootId, startTimeOf } from './known-process.js';
import type { ToHeld, ToShepherd } from './local-messages.js';
import { Restoration } from './restore.js';
import { StandardStreams } from './standard-streams.js';
import { formatEnding, heard, isWord, messageOf } from './words.js';

type Message<Type extends ToShepherd['type']> = Extract<ToShepherd, { type: Type }>;

const stateDirectory = process.argv[2]!;

const longestText = 4096;
/** What a journal takes of a text. */
const longestEntry = 255;

class Shepherd implements HandedOver {
  readonly #agents = new Agents(messageDescriptor, {
    // One at a time and in order, whatever a handler waits for.
    onMessage: (message) => {
      this.#queue = this.#queue.then(() => this.#handle(message)).catch((error) => this.#fail(error));
    },
    onLater: (message) => this.#hear(message),
    onLeft: () => this.#leave(),
  });
  #sameKernel = false;
  #peer = '';
  #judgement: Judgement | undefined;
  #streams: StandardStreams | undefined;
  #restoration: Restoration | undefined;
  /** Why the last differences could not be put in place. */
  #unadjusted: MigrationError | undefined;
  #handOver: HandOver | undefined;
  #finishing: Message<'finish'> | undefined;
  /** Told once. */
  #phases: Record<string, number> = {};
  #pid = 0;
  #ending: { code: number | null; signal: number | null } | null = null;
  #queue: Promise<void> = Promise.resolve();

  async #handle(message: ToShepherd): Promise<void> {
    switch (message.type) {
      case 'begin':
        this.#sameKernel = message.sameKernel;
        this.#peer = message.peer;
        return;
      case 'offer':
        return this.#consider(message);
      case 'identities':
        return this.#compare(message);
      case 'build':
        return this.#build(message);
      case 'layout':
        this.#restored.layout(message);
        return this.#agents.answer({ type: 'applied' });
      case 'settle':
        pauseOptimizer(); // a shepherd has nothing to do that would be worth it afterwards
        this.#restored.settle(message);
        return this.#agents.answer({ type: 'settled' });
      case 'rehearse': {
        const phases = await this.#restored.rehearse(message);
        await this.#handOver!.rehearse();
        return this.#agents.answer({ type: 'rehearsed', phases });
      }
      case 'adjust':
        return this.#adjust(message);
      case 'finish':
        if (!this.#handOver) throw new MigrationError('protocol-violation', 'nothing has been built yet');
        this.#finishing = message;
        return this.#handOver.feed({ type: 'received', message: { type: 'prepare', epoch: message.epoch } });
      case 'abort':
      case 'commit':
      case 'withdraw':
      case 'over':
      case 'recall':
        return this.#hear(message);
      default:
        throw new Error(`a shepherd does not take "${message.type}" messages`);
    }
  }

  #hear(message: ToHeld): void {
    if (!this.#handOver) {
      // Nothing of it is here yet.
      if (message.type === 'abort') this.tell({ type: 'aborted' });
    } else if (message.migration === this.#offer.migration) {
      if (isWord(message)) this.#handOver.feed({ type: 'received', message: heard(message) });
      else this.#handOver.recall();
    }
  }

  #leave(): void {
    if (!this.#handOver) {
      this.#end();
      return;
    }
    const isDue = ['building', 'completing'].includes(this.#handOver.at);
    // Nobody could ever complete it.
    if (isDue ? this.#agents.firstLeft : this.#agents.allLeft) this.#handOver.feed({ type: 'cut' });
  }

  get #restored(): Restoration {
    if (!this.#restoration) throw new MigrationError('protocol-violation', 'nothing has been built yet');
    return this.#restoration;
  }

  #consider(offer: Message<'offer'>): void {
    if (this.#judgement) throw new MigrationError('protocol-violation', 'it was offered already');
    this.#judgement = new Judgement(offer, this.#sameKernel, stateDirectory);
    this.#agents.answer(this.#judgement.consider());
  }

  async #compare(message: Message<'identities'>): Promise<void> {
    if (!this.#judgement) throw new MigrationError('protocol-violation', 'nothing has been offered yet');
    this.#agents.answer(await this.#judgement.compare(message));
  }

  get #offer(): Message<'offer'> {
    if (!this.#judgement) throw new MigrationError('protocol-violation', 'nothing has been offered yet');
    return this.#judgement.offer;
  }

  async #build(message: Message<'build'>): Promise<void> {
    if (!this.#judgement?.accepted)
      throw new MigrationError('protocol-violation', 'the offer was not accepted');
    if (this.#handOver) throw new MigrationError('protocol-violation', 'it has been built already');
    const { migration, name, stdio, vdso } = this.#offer;
    this.#streams = new StandardStreams(stdio, path.join(stateDirectory, `${migration}.log`));
    this.#restoration = new Restoration(this.#streams, this.#judgement.acceptedFiles);
    const { memory, userfault } = this.#restoration.build(message, vdso!);
    const { pid } = this.#restoration.skeleton;
    const journal = Journal.create(stateDirectory, {
      migration,
      role: 'target',
      peer: this.#peer.slice(0, longestEntry),
      pid,
      startTime: startTimeOf(pid),
      bootId: bootId(),
      name: name.slice(0, longestEntry),
      createdMs: Date.now(),
    });
    this.#handOver = new HandOver(journal, this, { state: newTarget, outputs: [] });
    const door = await Door.open(stateDirectory, migration, (socket) => this.#agents.add(socket));
    process.once('exit', () => door.close());
    this.#agents.answer({ type: 'built', pid });
    native.sendDescriptors(transferDescriptor, [memory, userfault]);
  }

  // Nothing is answered to it, so a failure is the answer to what follows. The skeleton stays until then: the agent may
  // still be landing pages in it.
  #adjust(message: Message<'adjust'>): void {
    try {
      this.#restored.adjust(message);
    } catch (error) {
      this.#unadjusted ??= asMigrationError(error, 'target-failed');
    }
  }

  async complete(): Promise<void> {
    try {
      if (this.#unadjusted) throw this.#unadjusted;
      this.#phases = await this.#restored.finish(this.#finishing!);
    } catch (error) {
      this.#explain(error);
      throw error;
    }
  }

  run(): void {
    const started = performance.now();
    this.#pid = this.#restored.run();
    // Whatever comes now, it runs.
    this.#phases = { record: this.#handOver!.recordMs, run: performance.now() - started };
    try {
      native.onChildExit(this.#pid, (status) => void this.#ended(status));
    } catch (error) {
      console.error(`nobody will see how process ${this.#pid} ends: ${(error as Error).message}`);
    }
  }

  discard(): void {
    this.#restoration?.[Symbol.dispose]();
    this.#restoration = undefined;
  }

  tell(word: Told): void {
    const particulars = {
      migration: this.#offer.migration,
      pid: this.#pid,
      ended: this.#ending,
      phases: this.#phases,
      notes: this.#restoration?.notes ?? [],
      log: this.#streams?.log ?? null,
      what: this.#handOver?.failure?.message.slice(0, longestText) ?? null,
    };
    this.#phases = {};
    this.#agents.tell(messageOf(word, particulars));
  }

  notice(notice: Notice): void {
    console.error(`migration ${this.#offer.migration}, ${this.#offer.name}: ${notice}`);
  }

  /** Nothing is left to be done, and nobody to be told. */
  settled(): void {
    if (this.#handOver?.at === 'aborted' && this.#agents.allLeft) this.#end();
  }

  async #ended({ pid, code, signal }: ChildStatus): Promise<void> {
    this.#ending = { code, signal };
    await this.#handOver!.ended(formatEnding(this.#ending));
    this.#agents.answer({ type: 'ended', pid, code, signal });
    // What the process wrote last is still on its way to the log.
    setTimeout(() => this.#end(), 500);
  }

  #fail(error: unknown): void {
    this.#explain(error);
    if (this.#handOver) this.#handOver.fail(error);
    else this.discard();
  }

  #explain(error: unknown): void {
    if (process.env.GODWIT_DEBUG) console.error(error);
    const { code, message, subject } = asMigrationError(error, 'target-failed');
    const { object } = subject;
    const what = message.slice(0, longestText);
    const about = object === undefined ? {} : { object };
    this.#agents.answer({ type: 'failed', code, what, phase: 'restore', ...about });
  }

  #end(): void {
    if (!this.#pid) this.discard();
    process.exit(0);
  }
}

// Signals meant for the agent's group or terminal are not for the shepherd. A limit on the size of files (SIGXFSZ) must
// fail a record, which has an answer, and not end it.
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM', 'SIGXFSZ'] as const) process.on(signal, () => undefined);
new Shepherd();
