/** The skeleton's mappings: emptied, laid out like the source's, and followed from one layout to the next. */
import { closeSync, constants, openSync } from 'node:fs';
import { MigrationError } from '../shared/errors.js';
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import { changeOf, isOfFile, type LayoutChange } from '../shared/layout.js';
import { changeOfSplices, type Splice, splice } from '../shared/layout-splices.js';
import type { ProgramVdso } from '../shared/protocol/messages.js';
import { type AddressRange, formatRange, mergeRanges, overlaps } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { addAdvice, addLock, isLockedAlike } from './advice.js';
import { KernelMappings } from './kernel-mappings.js';
import { applyLabels, type Labelled } from './labels.js';
import type { Skeleton } from './skeleton.js';

const protectionWrite = 2;
const mapShared = 0x1;
const mapPrivate = 0x2;
const mapAnonymous = 0x20;
const mapGrowsDown = 0x100;
const mapNoReserve = 0x4000;
const mapFixedNoReplace = 0x100000;

export class AddressSpace {
  #layout: Mapping[] = [];
  /** Locked memory is locked when no userfaultfd would see its pages being filled. */
  #locking = false;
  /** This kernel has no names for memory, and some has one. */
  unnamed = false;

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
  follow(splices: readonly Splice[]): void {
    const layout = splice(this.#layout, splices);
    const { stub } = this.skeleton;
    if (splices.some(({ insert }) => insert.some((mapping) => overlaps(mapping, stub))))
      this.skeleton.moveStub(layout);
    this.#kernel.giveWay(layout);
    this.#apply(changeOfSplices(this.#layout, splices));
    this.#layout = layout;
  }

  /** Locks what is locked at home; from now on with each change. */
  lock(): void {
    this.#locking = true;
    const batch = new CallBatch();
    for (const mapping of this.#layout)
      if (mapping.advice.includes('lo')) addLock(batch, mapping, mapping.advice);
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
    this.#name(map.filter(({ label }) => label !== ''));
    this.#name(
      adjust
        .filter(({ before, after }) => before.label !== after.label)
        .map(({ start, end, after: { label } }) => ({ start, end, label })),
    );
    const adjusted = new CallBatch();
    for (const { start, end, before, after } of adjust) {
      if (before.protection !== after.protection) {
        adjusted.add('mprotect', syscalls.mprotect, start, end - start, after.protection);
      }
      addAdvice(adjusted, { start, end }, before.advice, after.advice);
      if (this.#locking && !isLockedAlike(before.advice, after.advice))
        addLock(adjusted, { start, end }, after.advice);
    }
    this.skeleton.run(adjusted);
    adjusted.check();
  }

  #name(pieces: readonly Labelled[]): void {
    if (!applyLabels(this.skeleton, pieces)) this.unnamed = true;
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
      if (this.#locking && mapping.advice.includes('lo')) addLock(batch, mapping, mapping.advice);
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
