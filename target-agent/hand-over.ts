/**
 * Drives the target's side of the hand-over (shared/commit/target-side.ts): inputs one at a time, the outputs of each
 * performed in order, records kept in the journal.
 */
import { type CommitRecord, type FromTarget, type Notice, openRecord } from '../shared/commit/index.js';
import {
  stepTarget,
  type TargetInput,
  type TargetOutput,
  type TargetStep,
} from '../shared/commit/target-side.js';
import { asMigrationError, type MigrationError } from '../shared/errors.js';

/** What keeps the records: a Journal. */
export interface Records {
  record(record: CommitRecord, detail?: string): Promise<void>;
}

/** What its decisions are about. */
export interface HandedOver {
  /** All of this freeze is put in place. Rejects where it cannot be. */
  complete(epoch: number): Promise<void>;
  /** It runs when this returns. Throws where it cannot, and has to be discarded. */
  run(): void;
  /** It can never run when this returns. */
  discard(): void;
  /** To whoever listens; a word may get lost. */
  tell(word: FromTarget): void;
  notice(notice: Notice): void;
  /** All is done that the last input asked for. */
  settled?(): void;
}

export class HandOver {
  #state: TargetStep['state'];
  #inputs: (TargetInput | { readonly type: 'recalled' })[] = [];
  #busy = false;
  #writing = 0;
  #last: CommitRecord | null = null;
  /** Why it failed, where that was this side's own doing. */
  #failure: MigrationError | undefined;
  #recordMs = 0;

  /** `start`: how it begins, or goes on: recoverTarget. */
  constructor(
    private readonly records: Records,
    private readonly it: HandedOver,
    start: TargetStep,
    /** Written with each record: how the process ended. */
    private detail = '',
  ) {
    this.#state = start.state;
    void this.#perform(start.outputs);
  }

  get at(): TargetStep['state']['at'] {
    return this.#state.at;
  }

  get epoch(): number {
    return this.#state.epoch;
  }

  get failure(): MigrationError | undefined {
    return this.#failure;
  }

  /** How long the last record took to reach the disk. */
  get recordMs(): number {
    return this.#recordMs;
  }

  /** Nothing is under way: no input waits, no record is being written. */
  get idle(): boolean {
    return !this.#busy && this.#writing === 0;
  }

  feed(input: TargetInput): void {
    this.#take(input);
  }

  /** Somebody asks about it: told again, also what the machine would not say unasked. */
  recall(): void {
    this.#take({ type: 'recalled' });
  }

  /** The process that runs here has ended. Resolves when that is on the disk, or cannot be. */
  async ended(detail: string): Promise<void> {
    this.detail = detail;
    if (this.#last)
      await this.#write(this.#last).catch((error) => console.error(asMigrationError(error).message));
  }

  /** The way that a record takes, so that the first that counts is not the first. */
  async rehearse(): Promise<void> {
    if (this.#state.at === 'building') await this.#write(openRecord);
  }

  async #perform(outputs: readonly TargetOutput[]): Promise<void> {
    this.#busy = true;
    for (const output of outputs) await this.#do(output);
    for (let input = this.#inputs.shift(); input; input = this.#inputs.shift()) {
      const step = input.type === 'recalled' ? this.#link() : stepTarget(this.#state, input);
      this.#state = step.state;
      for (const output of step.outputs) await this.#do(output);
    }
    this.#busy = false;
    if (this.idle) this.it.settled?.();
  }

  #take(input: TargetInput | { readonly type: 'recalled' }): void {
    this.#inputs.push(input);
    if (!this.#busy) void this.#perform([]);
  }

  #link(): TargetStep {
    const step = stepTarget(this.#state, { type: 'linked' });
    const { at } = step.state;
    const isOver = at === 'running' || at === 'aborted' || at === 'lost' || at === 'unknown';
    if (step.outputs.length > 0 || !isOver) return step;
    return { state: step.state, outputs: [{ type: 'send', message: { type: at } }] };
  }

  #do(output: TargetOutput): Promise<void> | undefined {
    switch (output.type) {
      case 'send':
        this.it.tell(output.message);
        return;
      case 'say':
        this.it.notice(output.notice);
        return;
      case 'write':
        // Not awaited: what is said meanwhile counts.
        void this.#record(output.record);
        return;
      case 'complete':
        return this.#complete(output.epoch);
      case 'run':
        this.#run();
        return;
      case 'discard':
        this.it.discard();
        return;
    }
  }

  async #record(record: CommitRecord): Promise<void> {
    const { decision } = record;
    this.#last = record;
    try {
      await this.#write(record);
      this.feed({ type: 'written', decision });
    } catch (error) {
      this.#failure ??= asMigrationError(error, 'journal-unusable');
      this.feed({ type: 'unwritten', decision });
    }
  }

  async #write(record: CommitRecord): Promise<void> {
    const started = performance.now();
    this.#writing += 1;
    try {
      await this.records.record(record, this.detail);
    } finally {
      this.#writing -= 1;
      this.#recordMs = performance.now() - started;
    }
  }

  async #complete(epoch: number): Promise<void> {
    try {
      await this.it.complete(epoch);
      this.#inputs.push({ type: 'completed', epoch });
    } catch (error) {
      this.fail(error);
    }
  }

  /** What was to be done for it could not be. */
  fail(error: unknown): void {
    this.#failure ??= asMigrationError(error, 'target-failed');
    this.feed({ type: 'failed' });
  }

  #run(): void {
    try {
      this.it.run();
      this.feed({ type: 'started' });
    } catch (error) {
      this.#failure ??= asMigrationError(error, 'target-failed');
      this.feed({ type: 'gone' });
    }
  }
}
