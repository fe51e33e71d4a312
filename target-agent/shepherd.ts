/**
 * One process for each migration: it builds the skeleton, holds it at the start line, is the parent of the migrated
 * process afterwards, and reports its end. It outlives the agent. Before the decision the end of the agent ends the
 * skeleton; after it nothing but the migrated process itself ends the shepherd.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type ChildStatus, native } from '../native/index.js';
import { asMigrationError, type Blocker, MigrationError } from '../shared/errors.js';
import { sortOut } from '../shared/force.js';
import { pauseOptimizer } from '../shared/optimizer.js';
import type { WireValue } from '../shared/protocol/codec.js';
import { LocalChannel } from '../shared/protocol/local.js';
import { ownVdso } from '../shared/vdso.js';
import { messageDescriptor, transferDescriptor } from './child-process.js';
import { type FromShepherd, ToShepherd } from './local-messages.js';
import { compareFiles, compareIdentities, compareVdso, identify, withinLimit } from './preflight.js';
import { Restoration } from './restore.js';
import { detectShortages } from './shortages.js';
import { StandardStreams } from './standard-streams.js';

type Message<Type extends ToShepherd['type']> = Extract<ToShepherd, { type: Type }>;

const stateDirectory = process.argv[2]!;

/** Comparing less than this is not worth a word. */
const mentionedBytes = 256n << 20n;
const longestText = 4096;

interface Comparison {
  /** What stands in the way already. */
  found: readonly Blocker[];
  compared: ReturnType<typeof withinLimit>['compared'];
  bytes: bigint;
  identities: ReturnType<typeof identify>;
  startedMs: number;
}

class Shepherd {
  readonly #agent = new LocalChannel<ToShepherd, WireValue>(messageDescriptor, {
    schema: ToShepherd,
    peer: 'the agent',
  });
  #sameKernel = false;
  #offer: Message<'offer'> | undefined;
  /** Files whose contents the source has yet to tell. */
  #comparison: Comparison | undefined;
  readonly #acceptedFiles = new Set<string>();
  #accepted = false;
  #streams: StandardStreams | undefined;
  #restoration: Restoration | undefined;
  /** Why the last differences could not be put in place. */
  #unadjusted: MigrationError | undefined;
  #running = false;
  #queue: Promise<void> = Promise.resolve();

  constructor() {
    this.#agent.onMessage((message) => {
      // One at a time and in order, whatever a handler waits for.
      this.#queue = this.#queue.then(() => this.#handle(message)).catch((error) => this.#fail(error));
    });
    this.#agent.onEnd(() => {
      if (!this.#running) this.#end(0);
    });
  }

  async #handle(message: ToShepherd): Promise<void> {
    if (this.#running) return; // nothing that is said now can change what was decided
    switch (message.type) {
      case 'begin':
        this.#sameKernel = message.sameKernel;
        return;
      case 'offer':
        return this.#consider(message);
      case 'identities':
        return this.#compare(message);
      case 'build':
        return this.#build(message);
      case 'layout':
        this.#restored.layout(message);
        return this.#say({ type: 'applied' });
      case 'settle':
        pauseOptimizer(); // a shepherd has nothing to do that would be worth it afterwards
        this.#restored.settle(message);
        return this.#say({ type: 'settled' });
      case 'rehearse':
        return this.#say({ type: 'rehearsed', phases: await this.#restored.rehearse(message) });
      case 'adjust':
        return this.#adjust(message);
      case 'finish':
        return this.#finish(message);
      case 'commit':
        return this.#run();
      case 'abort':
        // Said when all is gone: the next attempt needs the same ids.
        this.#restoration?.[Symbol.dispose]();
        this.#restoration = undefined;
        this.#say({ type: 'aborted', migration: message.migration, what: null });
        await this.#agent.close();
        return this.#end(0);
      default:
        throw new Error(`a shepherd does not take "${message.type}" messages`);
    }
  }

  get #restored(): Restoration {
    if (!this.#restoration) throw new MigrationError('protocol-violation', 'nothing has been built yet');
    return this.#restoration;
  }

  #consider(offer: Message<'offer'>): void {
    if (this.#offer) throw new MigrationError('protocol-violation', 'it was offered already');
    this.#offer = offer;
    const { blockers, unsure } = compareFiles(offer.files, this.#sameKernel, offer.compareContents);
    const { compared, bytes, blockers: beyond } = withinLimit(unsure, offer.compareContents);
    const found = [
      ...detectShortages(offer, stateDirectory),
      ...compareVdso(offer, ownVdso()),
      ...blockers,
      ...beyond,
    ];
    if (compared.length === 0) this.#judge(found, []);
    else {
      // Both hosts read at the same time.
      const identities = identify(compared, offer.compareContents);
      this.#comparison = { found, compared, bytes, identities, startedMs: performance.now() };
      this.#say({ type: 'identify', paths: compared.map(({ path: file }) => file) });
    }
  }

  async #compare({ files }: Message<'identities'>): Promise<void> {
    const comparison = this.#comparison;
    this.#comparison = undefined;
    if (!comparison) throw new MigrationError('protocol-violation', 'no contents were asked for');
    const { found, compared, bytes, identities, startedMs } = comparison;
    const told = new Map(files.map(({ path: file, identity }) => [file, identity]));
    const blockers = [...found, ...compareIdentities(compared, await identities, told)];
    const seconds = (performance.now() - startedMs) / 1000;
    const note = `${bytes >> 20n} MiB of files were compared in ${seconds.toFixed(1)} s`;
    this.#judge(blockers, bytes >= mentionedBytes ? [note] : []);
  }

  #judge(found: readonly Blocker[], notes: string[]): void {
    const { check, force } = this.#offer!;
    const { blockers, forced } = sortOut(found, force);
    for (const { code, object } of forced) if (code.startsWith('file-')) this.#acceptedFiles.add(object!);
    this.#accepted = blockers.length === 0 && !check;
    this.#say({ type: 'verdict', blockers: blockers.map(sayable), forced: forced.map(sayable), notes });
  }

  #build(message: Message<'build'>): void {
    if (!this.#accepted) throw new MigrationError('protocol-violation', 'the offer was not accepted');
    const { migration, stdio, vdso } = this.#offer!;
    this.#streams = new StandardStreams(stdio, path.join(stateDirectory, `${migration}.log`));
    this.#restoration = new Restoration(this.#streams, this.#acceptedFiles);
    const { memory, userfault } = this.#restoration.build(message, vdso!);
    this.#say({ type: 'built', pid: this.#restoration.skeleton.pid });
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

  async #finish(message: Message<'finish'>): Promise<void> {
    if (this.#unadjusted) throw this.#unadjusted;
    this.#say({ type: 'prepared', epoch: message.epoch, phases: await this.#restored.finish(message) });
  }

  #run(): void {
    const started = performance.now();
    const pid = this.#restored.run();
    this.#running = true;
    const switchMs = performance.now() - started;
    native.onChildExit(pid, (status) => this.#ended(status));
    this.#say({
      type: 'running',
      migration: this.#offer!.migration,
      pid,
      ended: null,
      phases: { run: switchMs },
      notes: this.#restored.notes,
      log: this.#streams!.log,
    });
    this.#record({ state: 'running', pid });
  }

  #ended(status: ChildStatus): void {
    const { pid, code, signal } = status;
    this.#record({ state: 'ended', pid, code, signal });
    this.#say({ type: 'ended', pid, code, signal });
    // What the process wrote last is still on its way to the log.
    setTimeout(() => this.#end(0), 500);
  }

  #record(what: Record<string, unknown>): void {
    const { migration, name } = this.#offer!;
    const file = path.join(stateDirectory, `${migration}.json`);
    try {
      writeFileSync(file, `${JSON.stringify({ migration, name, at: new Date().toISOString(), ...what })}\n`, {
        mode: 0o600,
      });
    } catch (error) {
      console.error(`${file} could not be written: ${(error as Error).message}`);
    }
  }

  #say(message: FromShepherd): void {
    if (!this.#agent.ended) this.#agent.send(message as unknown as WireValue);
  }

  #fail(error: unknown): void {
    const failure = asMigrationError(error, 'target-failed');
    if (process.env.GODWIT_DEBUG) console.error(error);
    if (this.#running) return;
    const { object } = failure.subject;
    const what = failure.message.slice(0, 4096);
    this.#say({
      type: 'failed',
      code: failure.code,
      what,
      phase: 'restore',
      ...(object === undefined ? {} : { object }),
    });
    this.#restoration?.[Symbol.dispose]();
    this.#restoration = undefined;
  }

  #end(code: number): void {
    if (!this.#running) this.#restoration?.[Symbol.dispose]();
    process.exit(code);
  }
}

/** With the length that messages may have: a path alone can be as long. */
function sayable({ what, ...blocker }: Blocker) {
  return { ...blocker, what: what.slice(0, longestText), phase: 'preflight' };
}

// Signals meant for the agent's group or terminal are not for the shepherd.
for (const signal of ['SIGHUP', 'SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined);
new Shepherd();
