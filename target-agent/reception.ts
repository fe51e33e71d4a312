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
import { isWord, type Word } from './words.js';

export interface ReceptionOptions {
  facts: HostFacts;
  clocks: () => Clocks;
  /** What a source's user may force here. */
  allowForce: readonly ErrorCode[];
  openShepherd: () => Promise<ShepherdLink>;
  recallShepherd: (migration: string) => Promise<ShepherdLink>;
  log: (line: string) => void;
}

export class Reception {
  #source: HostFacts | undefined;
  #shepherd: ShepherdLink | undefined;
  #landing: Landing | undefined;
  /** Nothing stood in the way of the offer. */
  #accepted = false;
  #layout: readonly Mapping[] = [];
  /** The words of the hand-over are on their way: what becomes of it, only the shepherd can say. */
  #handing = false;
  /** A shepherd that is gone was replaced by who knows of it. */
  #replaced = false;
  /** The source may have decided: what failed here frees nobody. */
  #committed = false;
  #migration = '';
  /** Nothing is due from the shepherd: what became of it has been said. */
  #told = false;
  #runs = false;
  /** The shepherd that this session began: it tells how its process ends. */
  #own: ShepherdLink | undefined;
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
    if (this.#handing && !isWord(message))
      throw new MigrationError('protocol-violation', `"${message.type}" is not due in a hand-over`);
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
        this.#landing = new Landing(await this.session.pageChannel(0), (error) => {
          // When all has landed it says nothing about the process any more.
          if (!this.#handing) this.#fail(error);
        });
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
        await this.#pages.landed(message.frames);
        return this.#relay(await this.#link.ask(message));
      case 'finish':
        await this.#pages.landed(message.frames);
        this.#handing = true;
        this.#link.listen((answer) => this.#relay(answer));
        return this.#link.say(message);
      case 'recall':
        return this.#recall(message);
      case 'abort':
        this.options.log(`the source gave up: ${message.reason}`);
        if (this.#handing) return this.#pass(message);
        this.#relay(await this.#link.ask(message));
        return this.#close();
      case 'commit':
      case 'withdraw':
      case 'over':
        return this.#pass(message);
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
    this.#migration = message.migration;
    const shepherd = await this.options.openShepherd();
    if (this.#over) return shepherd[Symbol.dispose](); // the source is gone: nobody else would end it
    this.#own = shepherd;
    this.#shepherd = shepherd;
    this.#watch(shepherd);
    const sameKernel = this.#source.bootId === this.options.facts.bootId;
    this.#shepherd.say({ type: 'begin', sameKernel, peer: this.session.peer.slice(0, 4096) });
    this.#force = message.force.filter((code) => this.options.allowForce.includes(code));
    this.#relay(await this.#shepherd.ask({ ...message, force: this.#force }));
  }

  async #recall(message: Extract<FromSource, { type: 'recall' }>): Promise<void> {
    if (!this.#source || this.#shepherd)
      throw new MigrationError('protocol-violation', 'a recall is not due');
    this.options.log(`${this.session.peer} asks about migration ${message.migration}`);
    this.#migration = message.migration;
    this.#handing = true;
    // Whoever asks about it may have decided.
    this.#committed = true;
    await this.#replace();
    this.#link.say(message);
  }

  /** A word of the hand-over. */
  async #pass(message: Word): Promise<void> {
    const link = this.#link;
    if (!this.#handing || message.migration !== this.#migration)
      throw new MigrationError('protocol-violation', `"${message.type}" is not due: nothing is prepared`);
    this.#told = message.type === 'over';
    this.#committed ||= message.type === 'commit' || message.type === 'withdraw';
    // The end of the shepherd may have been noticed only now.
    if (link.ended) await this.#replace();
    this.#link.say(message);
  }

  /** Who knows of this migration takes the place of its shepherd. */
  async #replace(): Promise<void> {
    this.#shepherd?.[Symbol.dispose]();
    const link = await this.options.recallShepherd(this.#migration);
    this.#shepherd = link;
    if (this.#over) return link[Symbol.dispose]();
    link.listen((answer) => this.#relay(answer));
    this.#watch(link);
  }

  /** Its skeleton went with it, and nobody may be waiting for an answer of its while pages arrive. */
  #watch(link: ShepherdLink): void {
    link.onEnd(() => {
      if (this.#over || link !== this.#shepherd) return;
      const failure = new MigrationError('target-failed', 'the shepherd of this migration ended');
      // After the last word nobody waits for one: whoever says something again finds who knows of it.
      if (this.#told) return;
      if (!this.#handing || this.#replaced) return this.#fail(failure);
      this.#replaced = true;
      this.options.log(failure.message);
      // What became of the process the journal knows.
      this.#queue = this.#queue
        .then(() => this.#replace())
        .then(() => this.#link.say({ type: 'recall', migration: this.#migration }))
        .catch((error) => this.#fail(error));
    });
  }

  /** Passes on what the shepherd says; to a verdict belongs what the hosts themselves differ in. */
  #relay(answer: FromShepherd): void {
    if (answer.type === 'ended') {
      this.#logEnd(answer);
      return;
    }
    if (answer.type === 'running' || answer.type === 'aborted') {
      this.#optimizer?.[Symbol.dispose]();
      this.#optimizer = undefined;
    }
    this.#runs ||= answer.type === 'running' && answer.ended === null && this.#shepherd === this.#own;
    this.#told ||= this.#handing && ['running', 'aborted', 'lost', 'unknown'].includes(answer.type);
    if (answer.type === 'verdict') this.#judge(answer);
    else this.#say(answer.type === 'failed' ? { ...answer, code: this.#codeOf(answer.code) } : answer);
  }

  #codeOf(code: ErrorCode): ErrorCode {
    return this.#committed ? 'in-doubt' : code;
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

  #logEnd({ pid, code, signal }: Extract<FromShepherd, { type: 'ended' }>): void {
    this.options.log(
      `process ${pid} ended ${signal === null ? `with exit code ${code}` : `by signal ${signal}`}`,
    );
    if (this.#over) this.#shepherd?.[Symbol.dispose]();
  }

  #fail(error: unknown): void {
    if (this.#over) return;
    const failure = asMigrationError(error, 'target-failed');
    this.options.log(`failed: ${failure.message}`);
    const { object } = failure.subject;
    const what = failure.message.slice(0, 4096);
    this.#say({
      type: 'failed',
      code: this.#codeOf(failure.code),
      what,
      ...(object === undefined ? {} : { object }),
    });
    this.#close();
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#landing?.[Symbol.dispose]();
    this.#optimizer?.[Symbol.dispose]();
    // From `prepared` on the shepherd goes on by itself. Of one whose process runs, the end is still to be told.
    if (this.#runs) this.#shepherd?.unreference();
    else this.#shepherd?.[Symbol.dispose]();
    this.#finish();
  }
}

function landable(mappings: readonly Mapping[]) {
  return mergeRanges(mappings.filter(isPrivate));
}
