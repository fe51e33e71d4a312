/**
 * Tracking by soft-dirty bits: CONFIG_MEM_SOFT_DIRTY, Documentation/admin-guide/mm/soft-dirty.rst. Nothing runs in the
 * program for it, and when we die nothing is left but pages whose next write faults once.
 *
 * The bits are read and cleared for the whole process, and not in one step: a page written between the two would be
 * lost. Reading twice does not help, for nothing else tells what was written since; so the program is stopped for both
 * (measured on 1 GB of small pages: 12 ms). What it writes afterwards sets its bit again, also while it is being sent.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { type NativeSentPages, type NativeSoftDirtyPages, native } from '../../native/index.js';
import { MigrationError } from '../../shared/errors.js';
import { type AddressRange, flatten, mergeRanges, unflatten } from '../../shared/ranges.js';
import type { TrackedMapping } from '../layout.js';
import type { SourceProcess } from '../source-process.js';
import { Canary } from './canary.js';
import type { Collected, FinalCollected, Tracker } from './index.js';
import { withoutEmpty } from './populated.js';
import { spansOf } from './runs.js';

export class SoftDirtyTracker implements Tracker {
  readonly name = 'soft-dirty';
  readonly #pages: NativeSoftDirtyPages;
  readonly #clearing: number;
  readonly #canary: Canary;
  #mappings: readonly TrackedMapping[] = [];
  #closed = false;

  /** `stop` stops the program until what it returns is disposed of. */
  constructor(
    private readonly process: SourceProcess,
    private readonly sent: NativeSentPages,
    private readonly threads: number,
    private readonly stop: () => Disposable,
  ) {
    this.#pages = new native.SoftDirtyPages(sent);
    this.#canary = new Canary(process);
    this.#clearing = openSync(`/proc/${process.pid}/clear_refs`, 'w');
  }

  watch(mappings: readonly TrackedMapping[]): void {
    this.#mappings = mappings;
  }

  async collect(stopped: boolean): Promise<Collected> {
    if (this.#closed) throw new Error('the tracker is closed');
    const { populated, empty } = withoutEmpty(this.process, this.#mappings);
    // What comes into an empty mapping from here on loses its bit unread. It is due because it is not known.
    this.#pages.forget(flatten(empty));
    using _stopped = stopped ? null : this.stop();
    this.#assertOurs();
    // All at once, without a turn of the event loop: the program stands still.
    const { runs } = this.#pages.take(this.process.pagemap, spansOf(populated), this.threads);
    writeSync(this.#clearing, '4');
    this.#canary.set();
    return { runs, replaced: [] };
  }

  async collectFinal(): Promise<FinalCollected> {
    this.#assertOurs();
    const { populated, empty } = withoutEmpty(this.process, this.#mappings);
    const { pagemap } = this.process;
    const { runs, dropped } = await this.#pages.look(pagemap, spansOf(populated), this.threads);
    const emptied = this.sent.select(flatten(empty));
    return {
      runs,
      replaced: [],
      dropped: flatten(mergeRanges([...unflatten(dropped), ...unflatten(emptied)])),
    };
  }

  /** Throws MigrationError 'tracker-taken' when somebody else has cleared the bits since we did. */
  #assertOurs(): void {
    if (this.#canary.holds()) return;
    const { pid } = this.process;
    const what = `something else cleared the soft-dirty bits of process ${pid}: what it wrote before is not known any more`;
    throw new MigrationError('tracker-taken', what, { pid });
  }

  forget(ranges: readonly AddressRange[]): void {
    this.#pages.forget(flatten(ranges));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#clearing);
  }
}
