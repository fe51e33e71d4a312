/**
 * What the kernel itself maps into a process: [vvar], [vvar_vclock] and [vdso]. Programs keep pointers into the vdso, so
 * under the same kernel it lies where it lay at home. Under another one the image that the program knows stays at its
 * place, as memory like any other; its entry points lead to the vdso of this kernel, which lies out of the way. On the
 * next move that image travels with the program's memory and is only led elsewhere: nothing piles up.
 */
import { writeSync } from 'node:fs';
import { MigrationError } from '../shared/errors.js';
import { freeRange } from '../shared/free-range.js';
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import { type Redirection, redirect } from '../shared/injection/x86-64/vdso-entries.js';
import { isSpecial } from '../shared/proc/mappings.js';
import type { ProgramVdso } from '../shared/protocol/messages.js';
import { type AddressRange, bytesOf, overlaps } from '../shared/ranges.js';
import type { Mapping } from '../shared/state/memory.js';
import { kernelVdso, ownVdso } from '../shared/vdso.js';
import type { Skeleton } from './skeleton.js';

const protectionReadExecute = 5;
const privateAnonymousFixedNoReplace = 0x2 | 0x20 | 0x100000;
const moveFixed = 3; // MREMAP_MAYMOVE | MREMAP_FIXED

type NamedRange = AddressRange & { path: string };

export class KernelMappings {
  /** Empty under the same kernel. */
  #redirections: readonly Redirection[] = [];
  /** Where they are now, in address order. */
  #here: NamedRange[] = [];

  constructor(
    private readonly skeleton: Skeleton,
    private readonly vdso: ProgramVdso,
  ) {}

  /** Puts them where they belong and removes everything else but the stub. Throws MigrationError 'kernel-differs'. */
  place(layout: readonly Mapping[]): void {
    const own = this.skeleton.mappings().filter((mapping) => !overlaps(mapping, this.skeleton.stub));
    this.#here = own.filter((mapping) => isSpecial(mapping) && mapping.path !== '[vsyscall]');
    const batch = new CallBatch();
    for (const mapping of own) {
      if (!isSpecial(mapping)) batch.add('munmap', syscalls.munmap, mapping.start, bytesOf(mapping));
    }
    this.skeleton.run(batch);
    batch.check();
    const kernel = ownVdso();
    if (this.vdso.kernel === kernel.digest) this.#placeAsAtHome(layout);
    else this.#placeApart(layout, kernel.image);
  }

  /** Moves out of the way of memory that the program has got meanwhile. */
  giveWay(layout: readonly Mapping[]): void {
    if (this.#redirections.length === 0) return;
    if (layout.some((mapping) => this.#here.some((own) => overlaps(own, mapping)))) this.#moveAway(layout);
  }

  /** The last thing done to the image: it may have come with the program's pages. */
  connect(): void {
    const { start } = kernelVdso(this.#here)!;
    for (const { offset, code } of this.#redirections) {
      this.#write(this.vdso.start + BigInt(offset), code(start));
    }
  }

  #placeAsAtHome(layout: readonly Mapping[]): void {
    const wanted = layout.filter(({ kind }) => kind === 'special');
    assertSameShape(this.#here, wanted);
    this.#move(wanted.map(({ start }) => start));
  }

  #placeApart(layout: readonly Mapping[], kernelImage: Uint8Array): void {
    const { start, image } = this.vdso;
    const { redirections, obstacles } = redirect(image, kernelImage);
    if (obstacles.length > 0)
      throw new MigrationError('kernel-differs', obstacles.join('; '), { object: 'vdso' });
    this.#redirections = redirections;
    this.#moveAway(layout);
    const carried = layout.find((mapping) => mapping.start <= start && start < mapping.end);
    if (!carried) throw new MigrationError('kernel-differs', "the program's vdso is not mapped any more");
    if (carried.kind !== 'special') return;
    const flags = privateAnonymousFixedNoReplace;
    const bytes = bytesOf(carried);
    this.skeleton.call('mmap', syscalls.mmap, carried.start, bytes, protectionReadExecute, flags, -1, 0);
    this.#write(start, image.subarray(0, Number(carried.end - start)));
  }

  #moveAway(layout: readonly Mapping[]): void {
    const base = this.#here[0]!.start;
    const taken = [...layout, ...this.skeleton.mappings()].sort((a, b) => (a.start < b.start ? -1 : 1));
    const to = freeRange(taken, this.#here.at(-1)!.end - base);
    this.#move(this.#here.map(({ start }) => to + (start - base)));
  }

  /** To these places, in order, by a detour where old and new ones overlap. */
  #move(places: readonly bigint[]): void {
    if (this.#here.every(({ start }, i) => start === places[i])) return;
    const there = this.#at(places);
    if (there.some((range) => this.#here.some((own) => overlaps(own, range)))) {
      const away = this.skeleton.stub.end + 0x100000n;
      this.#moveTo(this.#here.map(({ start }) => away + (start - this.#here[0]!.start)));
    }
    this.#moveTo(places);
  }

  /** In one batch: a step between two would look for its system call in a vdso that is under way. */
  #moveTo(places: readonly bigint[]): void {
    const batch = new CallBatch();
    this.#here.forEach((range, i) => {
      const bytes = bytesOf(range);
      batch.add('mremap', syscalls.mremap, range.start, bytes, bytes, moveFixed, places[i]!);
    });
    this.skeleton.run(batch);
    const vdso = this.#here.findIndex(({ path }) => path === '[vdso]');
    this.skeleton.moveGadget(places[vdso]! - this.#here[vdso]!.start);
    batch.check();
    this.#here = this.#at(places);
  }

  #at(places: readonly bigint[]): NamedRange[] {
    return this.#here.map(({ start, end, path }, i) => {
      const to = places[i]!;
      return { start: to, end: to + (end - start), path };
    });
  }

  /** The image may not be written by the program itself. */
  #write(address: bigint, bytes: Uint8Array): void {
    writeSync(this.skeleton.memory, bytes, 0, bytes.byteLength, Number(address));
  }
}

function assertSameShape(here: readonly NamedRange[], wanted: readonly Mapping[]): void {
  const ours = here.map((range) => `${range.path}+${bytesOf(range)}`).join();
  const theirs = wanted.map((mapping) => `${mapping.name}+${bytesOf(mapping)}`).join();
  if (ours === theirs) return;
  throw new MigrationError(
    'kernel-differs',
    `the kernel's own mappings differ: ${theirs} there, ${ours} here`,
  );
}
