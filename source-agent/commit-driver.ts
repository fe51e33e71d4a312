/**
 * Drives the source's side of the hand-over (shared/commit/source-side.ts): feeds what happens to the machine and performs
 * what it asks for, in order. What happens meanwhile waits its turn.
 */
import type { CommitRecord, FromSource, Notice } from '../shared/commit/index.js';
import { stepSource } from '../shared/commit/source-side.js';
import {
  newSource,
  type SourceInput,
  type SourceOutput,
  type SourceStep,
} from '../shared/commit/source-state.js';
import { MigrationError } from '../shared/errors.js';
import type { Journal } from '../shared/journal.js';

/** What the machine's outputs are done with. */
export interface SourceHands {
  /** Throws where it does not hold. */
  hold(): void;
  release(): void;
  /** Also where the process is gone already. */
  end(): Promise<void>;
  /** May be lost. */
  send(message: FromSource): void;
  say(notice: Notice): void;
}

export class CommitDriver {
  #state = newSource;
  readonly #inputs: SourceInput[] = [];
  readonly #pending = new Set<Promise<void>>();
  #stepping = false;
  #failure: unknown;

  constructor(
    private readonly journal: Pick<Journal, 'record'>,
    private readonly hands: SourceHands,
  ) {}

  get state() {
    return this.#state;
  }

  /** What first went wrong with an output: why it gave up, where nobody told it to. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Where a new agent takes over. */
  begin(step: SourceStep): void {
    this.#perform(step);
    this.#drain();
  }

  feed(input: SourceInput): void {
    this.#inputs.push(input);
    this.#drain();
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  #drain(): void {
    if (this.#stepping) return;
    this.#stepping = true;
    try {
      for (let input = this.#inputs.shift(); input; input = this.#inputs.shift())
        this.#perform(stepSource(this.#state, input));
    } finally {
      this.#stepping = false;
    }
  }

  #perform({ state, outputs }: SourceStep): void {
    this.#state = state;
    for (const output of outputs) this.#do(output);
  }

  #do(output: SourceOutput): void {
    switch (output.type) {
      case 'hold':
        this.#inputs.push({ type: this.#try(() => this.hands.hold()) ? 'held' : 'unheld' });
        break;
      case 'release':
        this.#try(() => this.hands.release());
        break;
      case 'send':
        this.#send(output.message);
        break;
      case 'say':
        this.hands.say(output.notice);
        break;
      case 'end':
        this.#await(this.hands.end().then(() => this.feed({ type: 'ended' })));
        break;
      case 'write':
        this.#write(output.record);
        break;
    }
  }

  /** Where the link is gone, that is told by whoever waits for an answer. */
  #send(message: FromSource): void {
    try {
      this.hands.send(message);
    } catch (error) {
      if (!(error instanceof MigrationError)) this.#failure ??= error;
    }
  }

  #write(record: CommitRecord): void {
    const { decision } = record;
    const written = this.journal.record(record).then(
      () => 'written' as const,
      (error: unknown) => {
        this.#failure ??= error;
        return 'unwritten' as const;
      },
    );
    this.#await(written.then((type) => this.feed({ type, decision })));
  }

  #try(act: () => void): boolean {
    try {
      act();
      return true;
    } catch (error) {
      this.#failure ??= error;
      return false;
    }
  }

  #await(work: Promise<void>): void {
    const done = work
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .then(() => void this.#pending.delete(done));
    this.#pending.add(done);
  }
}
