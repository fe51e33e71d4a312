/** Memory ahead of the process: the layout followed, the pages sent in rounds. */
import { type NativeSentPages, native, RunFlag, ScanMode, type SendResult } from '../native/index.js';
import { type Blocker, MigrationError } from '../shared/errors.js';
import { changeOfSplices, type Splice, splicesOf } from '../shared/layout-splices.js';
import type { Mapping as ProcMapping } from '../shared/proc/mappings.js';
import {
  type AddressRange,
  firstEndingAfter,
  flatten,
  formatRange,
  mergeRanges,
  subtract,
  unflatten,
} from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { refusals } from './capture/memory.js';
import type { Conversation } from './conversation.js';
import { isUndisturbed, lookForDirectReads } from './direct-reads.js';
import { guardRegions } from './guard-regions.js';
import { hugeRanges } from './huge-pages.js';
import { layoutOf, type TrackedMapping, trackedMappings } from './layout.js';
import type { PageStream } from './page-stream.js';
import type { SourceProcess } from './source-process.js';
import { steadily } from './steady-look.js';
import type { Stopper } from './stop.js';
import type { Collected, FinalCollected, Tracker } from './tracker/index.js';

const answerMs = 30000;
/** Between looks at mappings that seem to stand in the way. */
const pausesMs = [2, 10, 50];
/** A round of a large process over a slow link is bounded by the heartbeat of the link, not by a clock. */
const roundMs = 24 * 3600 * 1000;

const wholeAddressSpace: AddressRange = { start: 0n, end: 1n << 56n };

export interface RoundResult {
  sent: SendResult;
  /** Bytes of pages that had to be looked at: sent, marked as zero, or skipped. */
  bytes: number;
  durationMs: number;
  /** When the pages were collected, performance.now(). */
  collectedAtMs: number;
}

export class PreCopy {
  #maps: readonly ProcMapping[] = [];
  #stopped: readonly ProcMapping[] = [];
  #layout: Mapping[] = [];
  /** Some mappings turned out to be others than those that were watched. */
  #replaced = false;
  /** Pages that could not be read when they were due, or were read perhaps while a device wrote to them. */
  #due: AddressRange[] = [];
  /** The next scan needs the program stopped. */
  #doubtful = false;
  #number = 0;
  #huge: AddressRange[] = [];

  private readonly process: SourceProcess;

  constructor(
    private readonly stopper: Stopper,
    private readonly conversation: Conversation,
    private readonly stream: PageStream,
    private readonly tracker: Tracker,
    private readonly sent: NativeSentPages,
  ) {
    this.process = stopper.process;
  }

  /** What was in huge pages before the tracking began, which takes them apart as they are written. */
  get huge(): readonly AddressRange[] {
    return this.#huge;
  }

  get layout(): Mapping[] {
    return this.#layout;
  }

  /** The layout to build first, of the running program. Throws as a round does. */
  async begin(): Promise<Mapping[]> {
    this.#layout = await this.#lookSteadily();
    this.#huge = hugeRanges(this.process, this.#layout);
    this.tracker.watch(this.#tracked());
    return this.#layout;
  }

  /**
   * One round while the program runs. Advice (madvise(2), mlock(2)) of whole mappings shows only in a thorough look,
   * which walks over all of the memory.
   */
  async round({ thorough = false } = {}): Promise<RoundResult> {
    const changed = await this.#followLayout(thorough);
    const collectedAtMs = performance.now();
    const { runs, replaced } = await this.#collect();
    this.#replaced = replaced.length > 0;
    const sent = await this.#send(changed ? clip(runs, this.#tracked()) : runs, false);
    await this.conversation.ask(
      { type: 'round', number: this.#number, frames: this.stream.frames },
      roundMs,
      'landed',
    );
    this.#number += 1;
    return { sent, bytes: bytesOf(sent), durationMs: performance.now() - collectedAtMs, collectedAtMs };
  }

  /** What was written, found while no device can be writing: see direct-reads.ts. */
  async #collect(): Promise<Collected> {
    const before = lookForDirectReads(this.process);
    if (before.open || this.#doubtful) {
      using _frozen = this.stopper.freeze();
      const collected = await this.tracker.collect(true);
      const again = this.#takeDue();
      this.#doubtful = false;
      return { ...collected, runs: joined(collected.runs, again) };
    }
    const collected = await this.tracker.collect(false);
    this.#doubtful = !isUndisturbed(before, lookForDirectReads(this.process));
    // They are sent all the same: what is wrong with them is set right by the next scan.
    if (this.#doubtful) this.#due = mergeRanges([...this.#due, ...rangesOf(collected.runs)]);
    return collected;
  }

  async #send(runs: BigUint64Array, frozen: boolean): Promise<SendResult> {
    const result = await this.stream.send(runs, frozen);
    if (result.missing.length > 0) this.#due = mergeRanges([...this.#due, ...unflatten(result.missing)]);
    return result;
  }

  /** True when the layout changed. */
  async #followLayout(thorough: boolean): Promise<boolean> {
    const maps = this.process.mappings();
    const changed = maps !== this.#maps;
    this.process.assertSameProgram();
    // At once: the older the look, the more of the mappings are others by now.
    if (changed || this.#replaced) this.tracker.watch(trackedMappings(layoutOf(maps, null)));
    if (!changed && !thorough) return false;
    // What is watched may be gone again by the time of the second look: then only the first one saw a change.
    const announced = await this.#announce(await this.#lookSteadily());
    return changed || announced;
  }

  /** Of the stopped program: whether the mappings are others than at the last look. */
  lookStopped(): boolean {
    this.#stopped = this.process.mappings();
    return this.#stopped !== this.#maps;
  }

  #tracked(): TrackedMapping[] {
    return trackedMappings(this.#layout);
  }

  /** The layout of the running program. Throws MigrationError for a mapping that cannot be carried, 'process-exec'. */
  async #lookSteadily(): Promise<Mapping[]> {
    const { maps, mappings, blockers } = await steadily(
      () => this.#look(),
      () => this.process.assertSameProgram(),
      pausesMs,
    );
    if (blockers.length > 0) throw MigrationError.refused(blockers);
    // A mapping that came or went between the two looks, and may be as before by the next: that one counts as another.
    this.#maps = isSameList(maps, mappings) ? maps : [];
    return layoutOf(mappings, null);
  }

  #look(): { maps: readonly ProcMapping[]; mappings: ProcMapping[]; blockers: Blocker[] } {
    const maps = this.process.mappings();
    const mappings = this.process.mappingsWithFlags();
    this.process.assertSameProgram();
    return { maps, mappings, blockers: refusals(this.process, mappings) };
  }

  /** The same of the stopped program, of which one look tells all. */
  #lookFrozen(): Mapping[] {
    const { mappings, blockers } = this.#look();
    if (blockers.length > 0) throw MigrationError.refused(blockers);
    return layoutOf(mappings, null);
  }

  /** What these splices take away of the layout, or put others in the place of. */
  #lost(splices: readonly Splice[]): AddressRange[] {
    const { kept } = changeOfSplices(this.#layout, splices);
    const touched = splices.flatMap(({ at, remove }) => this.#layout.slice(at, at + remove));
    return subtract(touched, mergeRanges(kept));
  }

  /** All addresses but those at which the same mapping stays. */
  #forgetBut(lost: readonly AddressRange[]): void {
    const kept = subtract(this.#layout, mergeRanges(lost));
    this.tracker.forget(subtract([wholeAddressSpace], mergeRanges(kept)));
  }

  /** Tells the target, and waits until it has followed: pages may name new mappings from then on. False for no change. */
  async #announce(layout: Mapping[]): Promise<boolean> {
    const splices = splicesOf(this.#layout, layout);
    if (splices.length === 0) return false;
    const lost = this.#lost(splices);
    this.sent.forget(flatten(lost));
    this.#forgetBut(lost);
    this.#layout = layout;
    await this.conversation.ask({ type: 'layout', splices }, answerMs, 'applied');
    return true;
  }

  /** Begins the last scan of the program that was stopped and looked at; it runs beside the capture. */
  beginFinal(): FinalScan {
    const maps = this.#stopped;
    const changed = maps !== this.#maps;
    const layout = changed ? this.#lookFrozen() : this.#layout;
    if (changed) {
      // Before the scan, which goes on while the target is told.
      this.#forgetBut(this.#lost(splicesOf(this.#layout, layout)));
      this.tracker.watch(trackedMappings(layout));
    }
    this.#maps = maps;
    return { changed, layout, mappings: maps, collected: this.tracker.collectFinal() };
  }

  /** Has the target follow the mappings of the stopped program: before it is given its last state, and pages. */
  async follow({ changed, layout }: FinalScan): Promise<void> {
    if (changed) await this.#announce(layout);
  }

  /**
   * Begins to send what the last scan found. `sending` rejects with MigrationError 'unreadable-state'.
   */
  async finish(final: FinalScan, onScanned: () => void): Promise<LastPages> {
    let collected = await final.collected;
    if (collected.replaced.length > 0 || this.#replaced) {
      this.tracker.watch(trackedMappings(final.layout));
      collected = await this.tracker.collectFinal();
    }
    onScanned();
    // What was unmapped is gone with its mapping.
    const dropped = unflatten(this.sent.select(collected.dropped));
    const sending = this.#sendLast(joined(collected.runs, this.#takeDue()));
    try {
      return { sending, dropped, guards: guardRegions(this.process, final.layout, collected.holes) };
    } catch (error) {
      await sending.catch(() => undefined);
      throw error;
    }
  }

  async #sendLast(runs: BigUint64Array): Promise<SendResult> {
    const sent = await this.#send(runs, true);
    if (this.#due.length > 0) {
      // Guard regions of kernels that do not tell them from pages in swap (6.13, 6.14), or broken memory.
      const object = `memory ${formatRange(this.#due[0]!)}`;
      const what = `${object} holds something that cannot be read`;
      throw new MigrationError('unreadable-state', what, { pid: this.process.pid, object });
    }
    return sent;
  }

  /** Pages that are due once more and have content: as runs. */
  #takeDue(): BigUint64Array {
    if (this.#due.length === 0) return new BigUint64Array(0);
    const tracked = this.#tracked();
    const due = inside(this.#due, mergeRanges(tracked));
    this.#due = [];
    const { pages } = native.scanPages(this.process.pagemap, flatten(due), ScanMode.content);
    const anonymous = mergeRanges(tracked.filter((mapping) => mapping.anonymous));
    for (let i = 0; i < pages.length; i += 3) {
      const holder = anonymous[firstEndingAfter(anonymous, pages[i]!)];
      pages[i + 2] =
        holder && holder.start <= pages[i]! && pages[i + 1]! <= holder.end ? RunFlag.anonymous : 0n;
    }
    return pages;
  }
}

/** Whether two looks, one with flags and one without, saw the same mappings. */
function isSameList(a: readonly ProcMapping[], b: readonly ProcMapping[]): boolean {
  return (
    a.length === b.length &&
    a.every((mapping, i) => {
      const other = b[i]!;
      return (
        mapping.start === other.start &&
        mapping.end === other.end &&
        mapping.offset === other.offset &&
        mapping.inode === other.inode &&
        mapping.path === other.path &&
        mapping.read === other.read &&
        mapping.write === other.write &&
        mapping.execute === other.execute &&
        mapping.shared === other.shared
      );
    })
  );
}

export interface FinalScan {
  changed: boolean;
  /** As /proc/PID/maps tells them of the stopped program. */
  mappings: readonly ProcMapping[];
  layout: Mapping[];
  collected: Promise<FinalCollected>;
}

/** What is on its way to the target when the program stands still. */
export interface LastPages {
  sending: Promise<SendResult>;
  /** What the target must drop. */
  dropped: AddressRange[];
  guards: AddressRange[];
}

export function pairOf({ start, end }: AddressRange): [bigint, bigint] {
  return [start, end];
}

/** The parts of runs inside these mappings; the others went away between two looks. */
function clip(runs: BigUint64Array, mappings: readonly AddressRange[]): BigUint64Array {
  const ranges = mergeRanges(mappings);
  const kept: bigint[] = [];
  for (let i = 0; i < runs.length; i += 3) {
    const [start, end, flag] = [runs[i]!, runs[i + 1]!, runs[i + 2]!];
    for (let at = firstEndingAfter(ranges, start); at < ranges.length && ranges[at]!.start < end; at += 1) {
      const range = ranges[at]!;
      kept.push(range.start > start ? range.start : start, range.end < end ? range.end : end, flag);
    }
  }
  return BigUint64Array.from(kept);
}

function joined(runs: BigUint64Array, more: BigUint64Array): BigUint64Array {
  if (more.length === 0) return runs;
  const all = new BigUint64Array(runs.length + more.length);
  all.set(runs);
  all.set(more, runs.length);
  return all;
}

function rangesOf(runs: BigUint64Array): AddressRange[] {
  return Array.from({ length: runs.length / 3 }, (_, i) => ({ start: runs[i * 3]!, end: runs[i * 3 + 1]! }));
}

/** The parts of `ranges` that `mappings` cover; both sorted and disjoint. */
function inside(ranges: readonly AddressRange[], mappings: readonly AddressRange[]): AddressRange[] {
  return subtract(ranges, subtract(ranges, mappings));
}

function bytesOf({ pages, zeroPages, skippedPages }: SendResult): number {
  return (pages + zeroPages + skippedPages) * 4096;
}
