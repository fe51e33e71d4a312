/** The skeleton's mappings: emptied, laid out like the source's, and followed from one layout to the next. */
import { closeSync, constants, openSync } from 'node:fs';
import { MigrationError } from '../shared/errors.js';
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import { changeOf, isOfFile, type LayoutChange } from '../shared/layout.js';
import type { ProgramVdso } from '../shared/protocol/messages.js';
import { type AddressRange, formatRange, mergeRanges, overlaps } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { KernelMappings } from './kernel-mappings.js';
import type { Skeleton } from './skeleton.js';

const protectionWrite = 2;
const mapShared = 0x1;
const mapPrivate = 0x2;
const mapAnonymous = 0x20;
const mapGrowsDown = 0x100;
const mapNoReserve = 0x4000;
const mapFixedNoReplace = 0x100000;

/** madvise(2) for each flag that smaps shows, and its contrary. Locking is separate. */
const advices = {
  dc: [10, 11],
  dd: [16, 17],
  hg: [14, 0],
  nh: [15, 0],
  wf: [18, 19],
  mg: [12, 13],
  sr: [2, 0],
  rr: [1, 0],
} as const;

export class AddressSpace {
  #layout: Mapping[] = [];
  /** Locked memory is locked when no userfaultfd would see its pages being filled. */
  #locking = false;

  readonly #kernel: KernelMappings;

  constructor(
    private readonly skeleton: Skeleton,
    readonly vdso: ProgramVdso,
  ) {
    this.#kernel = new KernelMappings(skeleton, vdso);
  }

  get layout(): readonly Mapping[] {
    return this.#layout;
  }

  /** Memory that can be filled through a userfaultfd: huge pages are filled by plain writes, so that they stay huge. */
  get fillable(): AddressRange[] {
    return mergeRanges(
      this.#layout.filter(({ kind, advice }) => kind === 'anonymous' && !advice.includes('hg')),
    );
  }

  /** Removes the skeleton's own mappings, puts the kernel's where the source has them, and maps the rest. */
  build(layout: Mapping[]): void {
    this.skeleton.mapStub(layout);
    this.#kernel.place(layout);
    this.#apply(changeOf([], layout));
    this.#layout = layout;
  }

  /** Goes from the layout there is to the next. */
  follow(layout: Mapping[]): void {
    if (layout.some((mapping) => overlaps(mapping, this.skeleton.stub))) this.skeleton.moveStub(layout);
    this.#kernel.giveWay(layout);
    this.#apply(changeOf(this.#layout, layout));
    this.#layout = layout;
  }

  /** Locks what is locked at home; from now on with each change. */
  lock(): void {
    this.#locking = true;
    const batch = new CallBatch();
    for (const mapping of this.#layout) if (mapping.advice.includes('lo')) addLock(batch, mapping);
    this.skeleton.run(batch);
    batch.check();
  }

  /** Pages that the program has dropped read as zero, or as the file, again. */
  drop(ranges: readonly AddressRange[]): void {
    const dontNeed = 4;
    const batch = new CallBatch();
    for (const { start, end } of ranges)
      batch.add('madvise(MADV_DONTNEED)', syscalls.madvise, start, end - start, dontNeed);
    this.skeleton.run(batch);
    batch.check();
  }

  /** Leads the program's entry points to this kernel's, when its pages have landed. */
  connect(): void {
    this.#kernel.connect();
  }

  #apply({ unmap, map, adjust }: LayoutChange): void {
    const removed = new CallBatch();
    for (const { start, end } of unmap) removed.add('munmap', syscalls.munmap, start, end - start);
    this.skeleton.run(removed);
    removed.check();
    this.#map(map);
    const adjusted = new CallBatch();
    for (const { start, end, before, after } of adjust) {
      if (before.protection !== after.protection) {
        adjusted.add('mprotect', syscalls.mprotect, start, end - start, after.protection);
      }
      addAdvice(adjusted, { start, end }, before.advice, after.advice);
      if (this.#locking && after.advice.includes('lo')) addLock(adjusted, { start, end });
    }
    this.skeleton.run(adjusted);
    adjusted.check();
  }

  #map(mappings: readonly Mapping[]): void {
    const names = [...new Set(mappings.filter(isOfFile).map(({ name }) => name))];
    using files = new MappedFiles(this.skeleton, names);
    const batch = new CallBatch();
    const places: { call: number; mapping: Mapping }[] = [];
    for (const mapping of mappings) {
      const { start, end, protection } = mapping;
      const fd = isOfFile(mapping) ? files.numberOf(mapping.name) : -1;
      // Only what can be written is charged for: it begins so, as it did at home.
      const first = mapping.accounted ? protection | protectionWrite : protection;
      const call = batch.add(
        'mmap',
        syscalls.mmap,
        start,
        end - start,
        first,
        flagsOf(mapping),
        fd,
        mapping.offset,
      );
      if (first !== protection) batch.add('mprotect', syscalls.mprotect, start, end - start, protection);
      places.push({ call, mapping });
      addAdvice(batch, mapping, [], mapping.advice);
      if (this.#locking && mapping.advice.includes('lo')) addLock(batch, mapping);
    }
    this.skeleton.run(batch);
    batch.check();
    for (const { call, mapping } of places) {
      if (batch.result(call) === mapping.start) continue;
      throw new MigrationError('target-failed', `mapping ${formatRange(mapping)} could not be placed`);
    }
  }
}

/** Files opened by us and lent to the skeleton while it maps them. */
class MappedFiles implements Disposable {
  readonly #numbers = new Map<string, number>();

  constructor(
    private readonly skeleton: Skeleton,
    names: readonly string[],
  ) {
    const opened: number[] = [];
    try {
      for (const name of names) opened.push(openForMapping(name));
      const numbers = skeleton.bring(opened);
      names.forEach((name, i) => {
        this.#numbers.set(name, numbers[i]!);
      });
    } finally {
      for (const fd of opened) closeSync(fd);
    }
  }

  numberOf(name: string): number {
    return this.#numbers.get(name)!;
  }

  [Symbol.dispose](): void {
    this.skeleton.drop([...this.#numbers.values()]);
  }
}

function openForMapping(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (cause) {
    throw new MigrationError(
      'file-missing',
      `${path} cannot be opened on the target`,
      { object: path },
      { cause },
    );
  }
}

function flagsOf({ kind, growsDown, noReserve }: Mapping): number {
  return (
    (kind === 'shared' ? mapShared : mapPrivate) |
    mapFixedNoReplace |
    (kind === 'anonymous' ? mapAnonymous : 0) |
    (growsDown ? mapGrowsDown : 0) |
    (noReserve ? mapNoReserve : 0)
  );
}

function addAdvice(
  batch: CallBatch,
  { start, end }: AddressRange,
  before: Mapping['advice'],
  after: Mapping['advice'],
): void {
  for (const [flag, [set, clear]] of Object.entries(advices) as [
    keyof typeof advices,
    readonly [number, number],
  ][]) {
    const [was, is] = [before.includes(flag), after.includes(flag)];
    if (was !== is) batch.add(`madvise(${flag})`, syscalls.madvise, start, end - start, is ? set : clear);
  }
  if (before.includes('lo') && !after.includes('lo')) {
    const munlock = 150;
    batch.add('munlock', munlock, start, end - start);
  }
}

function addLock(batch: CallBatch, { start, end }: AddressRange): void {
  batch.add('mlock', syscalls.mlock, start, end - start);
}
