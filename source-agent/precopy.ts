/** Memory ahead of the process: the layout followed, the pages sent in rounds. */
import { type NativeSentPages, native, RunFlag, ScanMode, type SendResult } from '../native/index.js';
import { MigrationError } from '../shared/errors.js';
import { changeOf } from '../shared/layout.js';
import { type Mapping as ProcMapping, parseMaps } from '../shared/proc/mappings.js';
import { type AddressRange, flatten, mergeRanges, subtract, unflatten } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { refusal } from './capture/memory.js';
import type { Conversation } from './conversation.js';
import { layoutOf, type TrackedMapping, trackedMappings } from './layout.js';
import type { PageStream } from './page-stream.js';
import { inOrder, type SourceProcess } from './source-process.js';
import type { FinalCollected, Tracker } from './tracker/index.js';

const answerMs = 30000;
/** A round of a large process over a slow link is bounded by the heartbeat of the link, not by a clock. */
const roundMs = 24 * 3600 * 1000;

export interface RoundResult {
  sent: SendResult;
  /** Bytes of pages that had to be looked at: sent, marked as zero, or skipped. */
  bytes: number;
  durationMs: number;
  /** When the pages were collected, performance.now(). */
  collectedAtMs: number;
}

export class PreCopy {
  /** The text of the last look, and what it says. */
  #maps = '';
  #mappings: ProcMapping[] = [];
  #layout: Mapping[] = [];
  /** Some mappings turned out to be others than those that were watched. */
  #replaced = false;
  /** Pages that could not be read when they were due. */
  #missing: AddressRange[] = [];
  #number = 0;

  constructor(
    private readonly process: SourceProcess,
    private readonly conversation: Conversation,
    private readonly stream: PageStream,
    private readonly tracker: Tracker,
    private readonly sent: NativeSentPages,
  ) {}

  get layout(): Mapping[] {
    return this.#layout;
  }

  /** The layout to build first. The program may be running or stopped; its stub, if any, is left out. */
  begin(stub: AddressRange | null): Mapping[] {
    this.#read(this.process.mapsText());
    this.#layout = this.#look(stub);
    this.tracker.watch(this.#tracked());
    return this.#layout;
  }

  /** One round while the program runs. */
  async round(): Promise<RoundResult> {
    const changed = await this.#followLayout();
    const collectedAtMs = performance.now();
    const { runs, replaced } = await this.tracker.collect();
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

  async #send(runs: BigUint64Array, frozen: boolean): Promise<SendResult> {
    const result = await this.stream.send(runs, frozen);
    this.#missing = mergeRanges([...this.#missing, ...unflatten(result.missing)]);
    return result;
  }

  /** True when the layout changed. */
  async #followLayout(): Promise<boolean> {
    const changed = this.#read(this.process.mapsText());
    // At once: the older the look, the more of the mappings are others by now.
    if (changed || this.#replaced) this.tracker.watch(trackedMappings(layoutOf(this.#mappings, null)));
    if (changed) await this.#announce(this.#look(null));
    return changed;
  }

  /** True when the text is another one than the last. */
  #read(maps: string): boolean {
    if (maps === this.#maps) return false;
    this.#maps = maps;
    this.#mappings = inOrder(parseMaps(maps));
    return true;
  }

  #tracked(): TrackedMapping[] {
    return trackedMappings(this.#layout);
  }

  /** The layout now. Throws MigrationError for a mapping that cannot be carried. */
  #look(stub: AddressRange | null): Mapping[] {
    const mappings = this.process.mappingsWithFlags();
    const blockers = mappings
      .filter(({ start, end }) => !stub || end <= stub.start || start >= stub.end)
      .flatMap((mapping) => refusal(this.process, mapping));
    if (blockers.length > 0) throw MigrationError.refused(blockers);
    return layoutOf(mappings, stub);
  }

  /** Tells the target, and waits until it has followed: pages may name new mappings from then on. */
  async #announce(layout: Mapping[]): Promise<void> {
    const { kept } = changeOf(this.#layout, layout);
    this.sent.forget(flatten(subtract(this.#layout, mergeRanges(kept))));
    this.#layout = layout;
    await this.conversation.ask({ type: 'layout', mappings: layout }, answerMs, 'applied');
  }

  /** Begins the last scan of the stopped program; it runs beside the capture. Call before the stub is mapped. */
  beginFinal(): FinalScan {
    const changed = this.#read(this.process.mapsText());
    const layout = changed ? this.#look(null) : this.#layout;
    if (changed) this.tracker.watch(trackedMappings(layout));
    return { changed, layout, mappings: this.#mappings, collected: this.tracker.collectFinal() };
  }

  /** Has the target follow the mappings of the stopped program: before it is given its last state, and pages. */
  async follow({ changed, layout }: FinalScan): Promise<void> {
    if (changed) await this.#announce(layout);
  }

  /** Sends what the last scan found. Returns what the target must drop. */
  async finish(
    final: FinalScan,
    onScanned: () => void,
  ): Promise<{ sent: SendResult; dropped: AddressRange[] }> {
    let collected = await final.collected;
    if (collected.replaced.length > 0 || this.#replaced) {
      this.tracker.watch(trackedMappings(final.layout));
      collected = await this.tracker.collectFinal();
    }
    onScanned();
    // What was unmapped is gone with its mapping.
    const dropped = unflatten(this.sent.select(collected.dropped));
    const sent = await this.#send(withMissing(collected.runs, this.#stillThere()), true);
    return { sent, dropped };
  }

  /** Pages that could not be read in their round and have content: as runs. */
  #stillThere(): BigUint64Array {
    if (this.#missing.length === 0) return new BigUint64Array(0);
    const { pages } = native.scanPages(this.process.pagemap, flatten(this.#missing), ScanMode.content);
    const anonymous = this.#tracked().filter((mapping) => mapping.anonymous);
    for (let i = 0; i < pages.length; i += 3) {
      pages[i + 2] = anonymous.some(({ start, end }) => pages[i]! >= start && pages[i + 1]! <= end)
        ? RunFlag.anonymous
        : 0n;
    }
    return pages;
  }
}

export interface FinalScan {
  changed: boolean;
  /** As /proc/PID/maps tells them of the stopped program. */
  mappings: ProcMapping[];
  layout: Mapping[];
  collected: Promise<FinalCollected>;
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
    let low = 0;
    for (let high = ranges.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (ranges[middle]!.end <= start) low = middle + 1;
      else high = middle;
    }
    for (let at = low; at < ranges.length && ranges[at]!.start < end; at += 1) {
      const range = ranges[at]!;
      kept.push(range.start > start ? range.start : start, range.end < end ? range.end : end, flag);
    }
  }
  return BigUint64Array.from(kept);
}

function withMissing(runs: BigUint64Array, missing: BigUint64Array): BigUint64Array {
  if (missing.length === 0) return runs;
  const all = new BigUint64Array(runs.length + missing.length);
  all.set(runs);
  all.set(missing, runs.length);
  return all;
}

function bytesOf({ pages, zeroPages, skippedPages }: SendResult): number {
  return (pages + zeroPages + skippedPages) * 4096;
}
