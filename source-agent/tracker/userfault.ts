/**
 * Tracking by userfaultfd in asynchronous write-protect mode, read with PAGEMAP_SCAN: Linux 6.7,
 * Documentation/admin-guide/mm/{userfaultfd,pagemap}.rst. Only userfaultfd(2) itself runs in the program; everything
 * else is done on a copy of its descriptor. When the copy closes, or we die, tracking ends and the program runs on.
 */
import { closeSync } from 'node:fs';
import {
  type NativeSentPages,
  native,
  PageCategory,
  type Ranges,
  ScanMode,
  UserfaultFeature,
  UserfaultMode,
} from '../../native/index.js';
import { isKernelError, MigrationError } from '../../shared/errors.js';
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import {
  type AddressRange,
  flatten,
  formatRange,
  mergeRanges,
  overlaps,
  subtract,
  unflatten,
} from '../../shared/ranges.js';
import type { FrozenProcess } from '../frozen-process.js';
import type { TrackedMapping } from '../layout.js';
import type { SourceProcess } from '../source-process.js';
import type { Collected, FinalCollected, Tracker } from './index.js';
import { joined, runsOf } from './runs.js';

const closeOnExec = 0o2000000;
const nonBlocking = 0o4000;
const userModeOnly = 1;
/** What the tracker needs of a userfaultfd. */
export const userfaultFeatures =
  UserfaultFeature.pagefaultFlagWp |
  UserfaultFeature.wpHugetlbfsShmem |
  UserfaultFeature.wpUnpopulated |
  UserfaultFeature.wpAsync;

export class UserfaultTracker implements Tracker {
  readonly name = 'userfault';
  /** In address order, without overlap. */
  #watched: TrackedMapping[] = [];
  /** Mappings that could not be watched: gone since they were looked at, or of a kind the kernel refuses. */
  #unwatched: TrackedMapping[] = [];
  /** The kernel tells of a single mapping (PROCMAP_QUERY, Linux 6.11). */
  #canQuery = true;
  #closed = false;

  private constructor(
    readonly process: SourceProcess,
    readonly userfault: number,
    readonly sent: NativeSentPages,
    readonly threads: number,
  ) {}

  /** Makes the userfaultfd in the stopped program. Throws MigrationError 'tracker-unavailable'. */
  static open(frozen: FrozenProcess, sent: NativeSentPages, threads: number): UserfaultTracker {
    const userfault = createIn(frozen);
    try {
      native.userfaultApi(userfault, userfaultFeatures);
    } catch (cause) {
      closeSync(userfault);
      const what = 'userfaultfd has no asynchronous write protection here';
      throw new MigrationError('tracker-unavailable', what, { pid: frozen.process.pid }, { cause });
    }
    return new UserfaultTracker(frozen.process, userfault, sent, threads);
  }

  watch(mappings: readonly TrackedMapping[]): void {
    this.#unwatched = [];
    const watched: TrackedMapping[] = [];
    const borders = new Set(mappings.flatMap(({ start, end }) => [start, end]));
    let next = 0;
    for (const mapping of mappings) {
      const known: TrackedMapping[] = [];
      while (next < this.#watched.length && this.#watched[next]!.end <= mapping.start) next += 1;
      for (let i = next; i < this.#watched.length && overlaps(this.#watched[i]!, mapping); i += 1) {
        if (this.#watched[i]!.anonymous === mapping.anonymous) known.push(this.#watched[i]!);
      }
      const uncovered = subtract([mapping], mergeRanges(known));
      // Always a whole mapping: one that is watched in part is two, and mremap(2) refuses what is two.
      if (uncovered.length === 0 || this.#register(mapping, uncovered, borders)) watched.push(mapping);
      else this.#unwatched.push(mapping);
    }
    this.#watched = watched;
  }

  /** False where the mapping went away before it could be watched: the next look at the mappings tells. */
  #register(
    mapping: TrackedMapping,
    uncovered: readonly AddressRange[],
    borders: ReadonlySet<bigint>,
  ): boolean {
    // What has other bounds by now must not be cut in two: the next look at the mappings tells what it became. That
    // several became one is our own doing: watched neighbours join.
    const now = this.#mappingAt(mapping);
    if (!now || !borders.has(now.start) || !borders.has(now.end) || now.end < mapping.end) return false;
    try {
      native.userfaultRegister(this.userfault, now.start, now.end, UserfaultMode.writeProtect);
      // What the scan could not tell apart may have been watched all the time, and protected: all of it is due again.
      for (const { start, end } of uncovered) native.userfaultUnprotect(this.userfault, start, end);
      return true;
    } catch (error) {
      if (isKernelError(error, 'ENOENT', 'ENOMEM', 'EINVAL', 'EPERM')) return false;
      const object = `mapping ${formatRange(mapping)}`;
      const subject = { pid: this.process.pid, object };
      if (isKernelError(error, 'EBUSY')) {
        const what = `${object} is watched by another userfaultfd`;
        throw new MigrationError('tracker-taken', what, subject, { cause: error });
      }
      throw error;
    }
  }

  #mappingAt(mapping: AddressRange): AddressRange | null {
    if (!this.#canQuery) return mapping;
    try {
      return native.mappingAt(this.process.maps, mapping.start);
    } catch (error) {
      if (!isKernelError(error, 'ENOTTY', 'EINVAL')) throw error;
      this.#canQuery = false;
      return mapping;
    }
  }

  async collect(): Promise<Collected> {
    const [anonymous, file] = await this.#scan(ScanMode.collect, ScanMode.collectOwn);
    return {
      runs: runsOf(anonymous.pages, file.pages),
      replaced: this.#forget(anonymous.untracked, file.untracked),
    };
  }

  async collectFinal(): Promise<FinalCollected> {
    // What went away while it was looked at may be back just as it was.
    if (this.#unwatched.length > 0)
      this.watch([...this.#watched, ...this.#unwatched].sort((a, b) => (a.start < b.start ? -1 : 1)));
    const [unwatched] = this.#unwatched;
    if (unwatched) {
      const object = `mapping ${formatRange(unwatched)}`;
      const what = `${object} cannot be watched by userfaultfd`;
      throw new MigrationError('tracker-unavailable', what, { pid: this.process.pid, object });
    }
    const [[anonymous, file], own] = await Promise.all([
      this.#scan(ScanMode.final, ScanMode.finalOwn),
      this.#ownFilePages(),
    ]);
    const present = triplesWhere(anonymous.pages, (category) => category !== 0n);
    const gone = flatten(triplesWhere(anonymous.pages, (category) => category === 0n));
    return {
      runs: joined(runsOf(triples(present), file.pages), own.uncertain),
      replaced: this.#forget(anonymous.untracked, file.untracked),
      dropped: flatten(mergeRanges([...unflatten(this.sent.select(gone)), ...own.reverted])),
      holes: gone,
    };
  }

  /**
   * What became of pages of private file mappings that were copied on write and sent. A page dropped since then is not
   * reported: the mark of its protection stays in its place, and looks like a page in swap. Such pages are read and
   * sent again, whichever they are; where nothing is left the page is the file's again.
   */
  async #ownFilePages(): Promise<{ reverted: AddressRange[]; uncertain: BigUint64Array }> {
    const sent = unflatten(this.sent.select(flatten(this.#watched.filter(({ anonymous }) => !anonymous))));
    if (sent.length === 0) return { reverted: [], uncertain: new BigUint64Array(0) };
    const spans = flatten(sent);
    const { pages } = await native.scanPagesAsync(this.process.pagemap, spans, ScanMode.content, 1);
    const uncertain = triplesWhere(pages, (category) => (category & PageCategory.present) === 0n);
    return {
      reverted: subtract(sent, mergeRanges(triplesWhere(pages, () => true))),
      uncertain: BigUint64Array.from(uncertain.flatMap(({ start, end }) => [start, end, 0n])),
    };
  }

  #scan(anonymousMode: ScanMode, fileMode: ScanMode) {
    const of = (anonymous: boolean) =>
      flatten(this.#watched.filter((mapping) => mapping.anonymous === anonymous));
    const scan = (spans: Ranges, mode: ScanMode) =>
      native.scanPagesAsync(this.process.pagemap, spans, mode, this.threads);
    return Promise.all([scan(of(true), anonymousMode), scan(of(false), fileMode)]);
  }

  /** Mappings that the scan found to be others than those we watch. */
  #forget(...untracked: Ranges[]): AddressRange[] {
    const replaced = mergeRanges(untracked.flatMap(unflatten));
    if (replaced.length > 0) {
      const kept = (anonymous: boolean) =>
        subtract(
          this.#watched.filter((mapping) => mapping.anonymous === anonymous),
          replaced,
        ).map((range) => ({ ...range, anonymous }));
      this.#watched = [...kept(true), ...kept(false)].sort((a, b) => (a.start < b.start ? -1 : 1));
    }
    return replaced;
  }

  /** A mapping that is another now is not registered any more: the scan tells. */
  forget(): void {}

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.userfault);
  }
}

function createIn(frozen: FrozenProcess): number {
  let failure = 0;
  // A program without CAP_SYS_PTRACE may only ask for faults of user mode; writes by the kernel are tracked all the same.
  for (const flags of [closeOnExec | nonBlocking, closeOnExec | nonBlocking | userModeOnly]) {
    const batch = new CallBatch();
    const call = batch.add('userfaultfd', syscalls.userfaultfd, flags);
    frozen.run(batch, call);
    const result = Number(batch.raw(call));
    if (result >= 0) {
      const copy = native.pidfdGetfd(frozen.process.pidfd, result);
      frozen.run(nothing()); // the stub closes the program's own descriptor before it does anything else
      return copy;
    }
    failure = -result;
  }
  const what = `userfaultfd(2) failed in the program with errno ${failure}`;
  throw new MigrationError('tracker-unavailable', what, { pid: frozen.process.pid });
}

function nothing(): CallBatch {
  const batch = new CallBatch();
  batch.add('brk', syscalls.brk, 0);
  return batch;
}

function triplesWhere(pages: BigUint64Array, wanted: (category: bigint) => boolean): AddressRange[] {
  const ranges: AddressRange[] = [];
  for (let i = 0; i < pages.length; i += 3) {
    if (wanted(pages[i + 2]!)) ranges.push({ start: pages[i]!, end: pages[i + 1]! });
  }
  return ranges;
}

function triples(ranges: readonly AddressRange[]): BigUint64Array {
  return BigUint64Array.from(ranges.flatMap(({ start, end }) => [start, end, PageCategory.present]));
}
