/**
 * One session with a source, in the part that reads the network: messages are checked and passed on to the shepherd,
 * pages are landed. It has no rights of its own.
 */
import { asMigrationError, type Blocker, MigrationError } from '../shared/errors.js';
import { isPrivate } from '../shared/layout.js';
import type { WireValue } from '../shared/protocol/codec.js';
import type { AgentSession } from '../shared/protocol/handshake.js';
import type { FromSource, FromTarget, HostFacts } from '../shared/protocol/messages.js';
import { mergeRanges } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { Landing } from './landing.js';
import type { FromShepherd } from './local-messages.js';
import { compareHosts } from './preflight.js';
import type { ShepherdLink } from './shepherd-link.js';

export interface ReceptionOptions {
  facts: HostFacts;
  openShepherd: () => Promise<ShepherdLink>;
  log: (line: string) => void;
}

export class Reception {
  #source: HostFacts | undefined;
  #shepherd: ShepherdLink | undefined;
  #landing: Landing | undefined;
  #decided = false;
  #over = false;
  #queue: Promise<void> = Promise.resolve();
  readonly done: Promise<void>;
  #finish!: () => void;

  constructor(
    private readonly session: AgentSession<FromSource, WireValue>,
    private readonly options: ReceptionOptions,
  ) {
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    session.control.onMessage((message) => {
      this.#queue = this.#queue.then(() => this.#handle(message)).catch((error) => this.#fail(error));
    });
    session.control.onEnd(() => this.#close());
  }

  async #handle(message: FromSource): Promise<void> {
    if (this.#over) return;
    switch (message.type) {
      case 'hello':
        this.#source = message.host;
        return this.#say({ type: 'hello', host: this.options.facts });
      case 'offer':
        return this.#offer(message);
      case 'identities':
        return this.#relay(await this.#link.ask(message));
      case 'build': {
        this.#landing = new Landing(await this.session.pageChannel(0), (error) => this.#fail(error));
        const built = await this.#link.ask(message);
        if (built.type === 'built') {
          this.#landing.aim(this.#link.receiveTarget());
          this.#landing.allow(landable(message.mappings));
        }
        return this.#relay(built);
      }
      case 'layout': {
        const applied = await this.#link.ask(message);
        if (applied.type === 'applied') this.#pages.allow(landable(message.mappings));
        return this.#relay(applied);
      }
      case 'round': {
        const { pages, zeroPages } = await this.#pages.landed(message.frames);
        return this.#say({ type: 'landed', number: message.number, pages, zeroPages });
      }
      case 'settle':
        await this.#pages.landed(message.frames);
        this.#pages.closeUserfault();
        return this.#relay(await this.#link.ask(message));
      case 'rehearse':
      case 'finish':
        await this.#pages.landed(message.frames);
        return this.#relay(await this.#link.ask(message));
      case 'commit':
        this.#decided = true;
        this.#relay(await this.#link.ask(message));
        return void this.#followToTheEnd();
      case 'abort':
        this.options.log(`the source gave up: ${message.reason}`);
        return this.#relay(await this.#link.ask(message));
    }
  }

  get #link(): ShepherdLink {
    if (!this.#shepherd) throw new MigrationError('protocol-violation', 'nothing has been offered yet');
    return this.#shepherd;
  }

  get #pages(): Landing {
    if (!this.#landing) throw new MigrationError('protocol-violation', 'nothing has been built yet');
    return this.#landing;
  }

  async #offer(message: Extract<FromSource, { type: 'offer' }>): Promise<void> {
    if (!this.#source || this.#shepherd)
      throw new MigrationError('protocol-violation', 'an offer is not due');
    this.options.log(
      `${this.session.peer} offers ${message.name} (pid ${message.ids[0]}), migration ${message.migration}`,
    );
    this.#shepherd = await this.options.openShepherd();
    this.#shepherd.say({ type: 'begin', sameKernel: this.#source.bootId === this.options.facts.bootId });
    this.#relay(await this.#shepherd.ask(message));
  }

  /** Passes on what the shepherd says; to a verdict belongs what the hosts themselves differ in. */
  #relay(answer: FromShepherd): void {
    if (answer.type === 'ended') return;
    if (answer.type === 'verdict') {
      const hosts: Blocker[] = compareHosts(this.#source!, this.options.facts);
      this.#say({ ...answer, blockers: [...hosts, ...answer.blockers] as typeof answer.blockers });
    } else {
      this.#say(answer);
    }
  }

  #say(message: FromTarget): void {
    if (!this.session.control.ended) this.session.control.send(message as unknown as WireValue);
  }

  async #followToTheEnd(): Promise<void> {
    try {
      for (;;) {
        const message = await this.#link.answer();
        if (message.type !== 'ended') continue;
        const { pid, code, signal } = message;
        this.options.log(
          `process ${pid} ended ${signal === null ? `with exit code ${code}` : `by signal ${signal}`}`,
        );
        return;
      }
    } catch {
      // The shepherd is gone, or we have let go of it: it keeps its own record.
    }
  }

  #fail(error: unknown): void {
    if (this.#over) return;
    const failure = asMigrationError(error, 'target-failed');
    this.options.log(`failed: ${failure.message}`);
    const { object } = failure.subject;
    const what = failure.message.slice(0, 4096);
    this.#say({ type: 'failed', code: failure.code, what, ...(object === undefined ? {} : { object }) });
    this.#close();
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#landing?.[Symbol.dispose]();
    // Once it has been told to run, the shepherd goes on by itself and tells how it ends.
    if (!this.#decided) this.#shepherd?.[Symbol.dispose]();
    this.#finish();
  }
}

function landable(mappings: readonly Mapping[]) {
  return mergeRanges(mappings.filter(isPrivate));
}
