/**
 * One session with a source, in the part that reads the network: messages are checked and passed on to the shepherd,
 * pages are landed. It has no rights of its own.
 */
import { asMigrationError, type ErrorCode, MigrationError } from '../shared/errors.js';
import { sortOut } from '../shared/force.js';
import { isPrivate } from '../shared/layout.js';
import { splice } from '../shared/layout-splices.js';
import { pauseOptimizer } from '../shared/optimizer.js';
import type { WireValue } from '../shared/protocol/codec.js';
import type { AgentSession } from '../shared/protocol/handshake.js';
import type { Clocks, FromSource, FromTarget, HostFacts } from '../shared/protocol/messages.js';
import { mergeRanges } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { Landing } from './landing.js';
import type { FromShepherd } from './local-messages.js';
import { compareHosts, noteHosts } from './preflight.js';
import type { ShepherdLink } from './shepherd-link.js';

export interface ReceptionOptions {
  facts: HostFacts;
  clocks: () => Clocks;
  /** What a source's user may force here. */
  allowForce: readonly ErrorCode[];
  openShepherd: () => Promise<ShepherdLink>;
  log: (line: string) => void;
}

export class Reception {
  #source: HostFacts | undefined;
  #shepherd: ShepherdLink | undefined;
  #landing: Landing | undefined;
  /** Nothing stood in the way of the offer. */
  #accepted = false;
  #layout: readonly Mapping[] = [];
  /** The shepherd was told to run it: what it is from then on, only the shepherd can say. */
  #decided = false;
  #optimizer: Disposable | undefined;
  #over = false;
  /** What was forced, and may be. */
  #force: ErrorCode[] = [];
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
    if (this.#decided) {
      this.options.log(`${this.session.peer} said "${message.type}" when all was decided`);
      return;
    }
    switch (message.type) {
      case 'hello':
        if (this.#source) throw new MigrationError('protocol-violation', 'a hello is not due');
        this.#source = message.host;
        return this.#say({ type: 'hello', host: this.options.facts, clocks: this.options.clocks() });
      case 'offer':
        return this.#offer(message);
      case 'identities':
        return this.#relay(await this.#link.ask(message));
      case 'build': {
        if (!this.#accepted) throw new MigrationError('protocol-violation', 'no offer was accepted');
        this.#landing = new Landing(await this.session.pageChannel(0), (error) => this.#fail(error));
        const built = await this.#link.ask(message);
        if (built.type === 'built') {
          this.#landing.aim(this.#link.receiveTarget());
          this.#layout = message.mappings;
          this.#landing.allow(landable(this.#layout));
        }
        return this.#relay(built);
      }
      case 'layout': {
        const next = splice(this.#layout, message.splices);
        const applied = await this.#link.ask(message);
        if (applied.type === 'applied') {
          this.#layout = next;
          this.#pages.allow(landable(next));
        }
        return this.#relay(applied);
      }
      case 'round': {
        const { pages, zeroPages } = await this.#pages.landed(message.frames);
        return this.#say({ type: 'landed', number: message.number, pages, zeroPages });
      }
      case 'settle':
        this.#optimizer ??= pauseOptimizer();
        await this.#pages.landed(message.frames);
        this.#pages.closeUserfault();
        return this.#relay(await this.#link.ask(message));
      case 'adjust':
        if (!this.#landing) throw new MigrationError('protocol-violation', 'nothing has been built yet');
        return this.#link.say(message);
      case 'rehearse':
      case 'finish':
        await this.#pages.landed(message.frames);
        return this.#relay(await this.#link.ask(message));
      case 'commit':
        return this.#commit(message);
      case 'abort':
        this.options.log(`the source gave up: ${message.reason}`);
        this.#relay(await this.#link.ask(message));
        return this.#close();
      default:
        throw new MigrationError('protocol-violation', `"${message.type}" is not due`);
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
    // Its skeleton went with it, and nobody may be waiting for an answer of its while pages arrive.
    this.#shepherd.onEnd(() => {
      if (!this.#decided)
        this.#fail(new MigrationError('target-failed', 'the shepherd of this migration ended'));
    });
    this.#shepherd.say({ type: 'begin', sameKernel: this.#source.bootId === this.options.facts.bootId });
    this.#force = message.force.filter((code) => this.options.allowForce.includes(code));
    this.#relay(await this.#shepherd.ask({ ...message, force: this.#force }));
  }

  async #commit(message: Extract<FromSource, { type: 'commit' }>): Promise<void> {
    const link = this.#link;
    this.#decided = true;
    let answer: FromShepherd;
    try {
      answer = await link.ask(message);
    } catch (cause) {
      const what = 'the shepherd ended without saying whether the process runs';
      throw new MigrationError('in-doubt', what, {}, { cause });
    }
    this.#decided = answer.type === 'running';
    this.#relay(answer);
    this.#optimizer?.[Symbol.dispose]();
    if (this.#decided) void this.#followToTheEnd(link);
    // The session may have ended while the answer was under way.
    else if (this.#over) link[Symbol.dispose]();
  }

  /** Passes on what the shepherd says; to a verdict belongs what the hosts themselves differ in. */
  #relay(answer: FromShepherd): void {
    if (answer.type === 'ended') return;
    if (answer.type === 'verdict') this.#judge(answer);
    else this.#say(answer);
  }

  #judge(answer: Extract<FromShepherd, { type: 'verdict' }>): void {
    const [source, target] = [this.#source!, this.options.facts];
    const hosts = sortOut(compareHosts(source, target), this.#force);
    const blockers = [...hosts.blockers, ...answer.blockers] as typeof answer.blockers;
    const forced = [...hosts.forced, ...answer.forced] as typeof answer.forced;
    this.#accepted = blockers.length === 0;
    for (const { code, what } of forced) this.options.log(`forced (${code}): ${what}`);
    this.#say({ ...answer, blockers, forced, notes: [...noteHosts(source, target), ...answer.notes] });
  }

  #say(message: FromTarget): void {
    if (!this.session.control.ended) this.session.control.send(message as unknown as WireValue);
  }

  async #followToTheEnd(link: ShepherdLink): Promise<void> {
    const end = await link.ended();
    link[Symbol.dispose]();
    if (!end) return;
    const how = end.signal === null ? `with exit code ${end.code}` : `by signal ${end.signal}`;
    this.options.log(`process ${end.pid} ended ${how}`);
  }

  #fail(error: unknown): void {
    if (this.#over) return;
    const failure = asMigrationError(error, 'target-failed');
    this.options.log(`failed: ${failure.message}`);
    // A page channel that breaks now says nothing about the process: only the shepherd's answer may free the source.
    if (this.#decided && failure.code !== 'in-doubt') return;
    const { object } = failure.subject;
    const what = failure.message.slice(0, 4096);
    this.#say({ type: 'failed', code: failure.code, what, ...(object === undefined ? {} : { object }) });
    this.#close();
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#landing?.[Symbol.dispose]();
    this.#optimizer?.[Symbol.dispose]();
    // Once it has been told to run, the shepherd goes on by itself and tells how it ends.
    if (!this.#decided) this.#shepherd?.[Symbol.dispose]();
    this.#finish();
  }
}

function landable(mappings: readonly Mapping[]) {
  return mergeRanges(mappings.filter(isPrivate));
}
