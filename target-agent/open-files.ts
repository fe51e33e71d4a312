/**
 * The skeleton's descriptors. Open file descriptions are made by us, with our rights, and lent to the skeleton, so we
 * can still move their offsets and fill their pipes; from one state to the next only differences are done.
 */
import { closeSync, constants, writeSync } from 'node:fs';
import { native } from '../native/index.js';
import { MigrationError } from '../shared/errors.js';
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import type { Description, FilesState } from '../shared/state/files.js';
import type { PipesState } from '../shared/state/pipes.js';
import { openNamed } from './opening.js';
import type { Skeleton } from './skeleton.js';
import type { StandardStreams } from './standard-streams.js';

const fcntl = { setFlags: 4, setPipeSize: 1031, getPipeSize: 1032 } as const;
const fDupfdCloexec = 1030;
const closeOnExec = 0o2000000;
const seekSet = 0;
const epollControl = { add: 1, del: 2 } as const;
const epollCreate1 = 291;
const epollCtl = 233;
const nothing = 'the state names a description that is not there';

/** A description as it is held here and in the skeleton. */
interface Held {
  description: Description;
  /** Ours; -1 for an epoll instance, which lives in the skeleton alone. */
  fd: number;
}

interface Pipe {
  read: number;
  write: number;
  /** As it was asked for. */
  capacity: number;
}

export class OpenFiles implements Disposable {
  #held: Held[] = [];
  #pipes: Pipe[] = [];
  /** What each descriptor of the skeleton refers to. */
  readonly #numbers = new Map<number, { held: Held; closeOnExec: boolean }>();

  constructor(
    private readonly skeleton: Skeleton,
    private readonly streams: StandardStreams,
  ) {}

  /** Makes the skeleton's descriptors those of `next`. Throws MigrationError for what cannot be opened. */
  reconcile(next: FilesState, pipes: PipesState): void {
    this.#makePipes(pipes);
    const before = this.#held;
    const numbers = numbersOf(next);
    const kept = new Set<Held>();
    const held = next.descriptions.map((description, index) =>
      this.#find(description, numbers[index]!, kept),
    );
    this.#held = held;
    this.#keepHelperFree(next);

    const wanted = new Map(
      next.descriptors.map(({ fd, description, closeOnExec }) => {
        return [fd, { held: held[description]!, closeOnExec }];
      }),
    );
    const gone = [...this.#numbers]
      .filter(([fd, { held }]) => wanted.get(fd)?.held !== held)
      .map(([fd]) => fd);
    this.#watch(before, held, new Set(gone), 'leave');
    if (gone.length > 0) this.skeleton.drop(gone);
    for (const fd of gone) this.#numbers.delete(fd);
    this.#place(new Map([...wanted].filter(([fd]) => !this.#numbers.has(fd))));
    this.#setCloseOnExec(wanted);
    this.#watch(before, held, new Set(gone), 'join');
    for (const { description, fd } of held) this.#seek(description, fd);
    for (const old of before) if (!kept.has(old)) closeHeld(old);
  }

  /** Puts into each pipe what was in it. */
  fillPipes(pipes: PipesState): void {
    pipes.forEach(({ content }, i) => {
      // Beyond that the write would wait for a reader, and nobody reads yet.
      if (content.byteLength > native.fcntl(this.#pipes[i]!.write, fcntl.getPipeSize, 0)) {
        throw new MigrationError('protocol-violation', `pipe ${i} holds more than it can`);
      }
      for (let at = 0; at < content.byteLength; ) at += writeSync(this.#pipes[i]!.write, content, at);
    });
  }

  /** Our own copies are closed: ends of pipes would keep them open. The skeleton's helper goes as well. */
  letGo(): void {
    const batch = new CallBatch();
    batch.add('close', syscalls.close, this.skeleton.helper);
    this.skeleton.run(batch);
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    for (const held of this.#held) closeHeld(held);
    for (const { read, write } of this.#pipes) {
      closeSync(read);
      closeSync(write);
    }
    this.#held = [];
    this.#pipes = [];
  }

  /** A description of the last state that is the same object still, or a new one. */
  #find(description: Description, numbers: readonly number[], kept: Set<Held>): Held {
    const old = numbers
      .map((fd) => this.#numbers.get(fd)?.held)
      .find((held) => held && !kept.has(held) && isSameObject(held.description, description));
    if (old) {
      kept.add(old);
      old.description = description;
      return old;
    }
    return { description, fd: this.#open(description) };
  }

  #open(description: Description): number {
    switch (description.kind) {
      case 'file':
      case 'directory':
      case 'device':
        return openNamed(description);
      case 'stream':
        return this.streams.open(description);
      case 'pipe': {
        const ends = this.#pipes[description.pipe];
        if (!ends) throw new MigrationError('protocol-violation', 'the state names a pipe that is not there');
        native.fcntl(ends[description.end], fcntl.setFlags, description.flags);
        return ends[description.end];
      }
      case 'epoll':
        return -1;
    }
  }

  // Pipes are made once and keep their numbers; more may come.
  #makePipes(pipes: PipesState): void {
    pipes.forEach(({ capacity }, i) => {
      if (!this.#pipes[i]) {
        const [read, write] = native.pipe();
        this.#pipes[i] = { read, write, capacity: 0 };
      }
      const pipe = this.#pipes[i]!;
      if (pipe.capacity !== capacity) native.fcntl(pipe.write, fcntl.setPipeSize, capacity);
      pipe.capacity = capacity;
    });
  }

  #keepHelperFree({ descriptors }: FilesState): void {
    const { helper } = this.skeleton;
    if (descriptors.every(({ fd }) => fd !== helper)) return;
    const highest = highestOf(descriptors);
    const batch = new CallBatch();
    const moved = batch.add('fcntl(F_DUPFD)', syscalls.fcntl, helper, fDupfdCloexec, highest + 1);
    batch.add('close', syscalls.close, helper);
    this.skeleton.run(batch);
    this.skeleton.helper = Number(batch.result(moved));
  }

  // New descriptors arrive at the lowest free numbers, which others may need: they go by way of high ones.
  #place(wanted: ReadonlyMap<number, { held: Held; closeOnExec: boolean }>): void {
    if (wanted.size === 0) return;
    const objects = [...new Set([...wanted.values()].map(({ held }) => held))];
    const arrived = this.#arrive(objects);
    let above = this.skeleton.helper + 1;
    for (const fd of wanted.keys()) if (fd >= above) above = fd + 1;
    const away = new CallBatch();
    for (const fd of arrived) away.add('fcntl(F_DUPFD)', syscalls.fcntl, fd, fDupfdCloexec, above);
    this.skeleton.run(away);
    const parked = new Map(objects.map((held, i) => [held, Number(away.result(i))]));
    this.skeleton.drop(arrived);

    const placed = new CallBatch();
    for (const [fd, { held, closeOnExec: close }] of wanted) {
      placed.add('dup3', syscalls.dup3, parked.get(held)!, fd, close ? closeOnExec : 0);
    }
    for (const fd of parked.values()) placed.add('close', syscalls.close, fd);
    this.skeleton.run(placed);
    placed.check();
    for (const [fd, entry] of wanted) this.#numbers.set(fd, entry);
  }

  #arrive(objects: readonly Held[]): number[] {
    const ours = objects.filter(({ fd }) => fd >= 0);
    const brought = this.skeleton.bring(ours.map(({ fd }) => fd));
    const instances = new CallBatch();
    const made = new Map(
      objects
        .filter(({ fd }) => fd < 0)
        .map((held) => [held, instances.add('epoll_create1', epollCreate1, 0)]),
    );
    this.skeleton.run(instances);
    return objects.map((held) => {
      const call = made.get(held);
      return call === undefined ? brought[ours.indexOf(held)]! : Number(instances.result(call));
    });
  }

  #setCloseOnExec(wanted: ReadonlyMap<number, { held: Held; closeOnExec: boolean }>): void {
    const setDescriptorFlags = 2; // F_SETFD
    const batch = new CallBatch();
    for (const [fd, { closeOnExec: close }] of wanted) {
      const now = this.#numbers.get(fd)!;
      if (now.closeOnExec !== close)
        batch.add('fcntl(F_SETFD)', syscalls.fcntl, fd, setDescriptorFlags, close ? 1 : 0);
      now.closeOnExec = close;
    }
    this.skeleton.run(batch);
    batch.check();
  }

  #seek(description: Description, fd: number): void {
    if (!('path' in description)) return;
    if (description.kind !== 'device') native.seek(fd, description.position, seekSet);
    native.fcntl(fd, fcntl.setFlags, description.flags);
  }

  /**
   * Makes the epoll instances watch what they should: `leave` before descriptors change hands, `join` after. What a
   * watch refers to is the description behind the number at the time, so a number that changes hands is watched anew.
   */
  #watch(
    before: readonly Held[],
    now: readonly Held[],
    gone: ReadonlySet<number>,
    step: 'leave' | 'join',
  ): void {
    const batch = new CallBatch();
    for (const held of step === 'leave' ? before : now) {
      if (held.description.kind !== 'epoll') continue;
      const instance = [...this.#numbers].find(([, entry]) => entry.held === held)?.[0];
      if (instance === undefined) continue;
      const watched = this.#watches.get(held) ?? new Map<number, string>();
      const due = new Map(held.description.watches.map((watch) => [watch.fd, watch]));
      if (step === 'leave') {
        for (const [fd, seen] of watched) {
          const watch = due.get(fd);
          if (watch && keyOf(watch) === seen && !gone.has(fd)) continue;
          batch.add('epoll_ctl', epollCtl, instance, epollControl.del, fd, 0);
          watched.delete(fd);
        }
      } else {
        for (const watch of due.values()) {
          if (watched.has(watch.fd)) continue;
          const event = Buffer.alloc(12); // struct epoll_event is packed on x86-64
          event.writeUInt32LE(watch.events);
          event.writeBigUInt64LE(watch.data, 4);
          const at = this.skeleton.put(event, (batch.length % 1024) * 16);
          batch.add('epoll_ctl', epollCtl, instance, epollControl.add, watch.fd, at);
          watched.set(watch.fd, keyOf(watch));
          if (batch.length % 1024 === 0)
            throw new MigrationError('target-failed', 'an epoll watches too much');
        }
        this.#watches.set(held, watched);
      }
    }
    this.skeleton.run(batch);
    batch.check();
  }

  readonly #watches = new WeakMap<Held, Map<number, string>>();
}

/** The descriptors of each description. */
function numbersOf({ descriptions, descriptors }: FilesState): number[][] {
  const numbers: number[][] = descriptions.map(() => []);
  for (const { fd, description } of descriptors) {
    const of = numbers[description];
    if (!of) throw new MigrationError('protocol-violation', nothing);
    of.push(fd);
  }
  return numbers;
}

/** The highest number in use, 2 at least. There may be more of them than a call takes arguments. */
export function highestOf(descriptors: FilesState['descriptors']): number {
  return descriptors.reduce((highest, { fd }) => Math.max(highest, fd), 2);
}

// Ends of pipes stay open as long as their pipe.
function closeHeld({ fd, description }: Held): void {
  if (fd >= 0 && description.kind !== 'pipe') closeSync(fd);
}

function keyOf({ events, data }: { events: number; data: bigint }): string {
  return `${events}:${data}`;
}

function isSameObject(a: Description, b: Description): boolean {
  if (a.kind !== b.kind) return false;
  switch (a.kind) {
    case 'pipe':
      return b.kind === 'pipe' && a.pipe === b.pipe && a.end === b.end && a.flags === b.flags;
    case 'stream':
      return b.kind === 'stream' && a.direction === b.direction && a.flags === b.flags;
    case 'epoll':
      return true;
    default:
      return 'path' in b && a.path === b.path && accessOf(a.flags) === accessOf(b.flags);
  }
}

// Status flags can be set again; how it was opened cannot.
function accessOf(flags: number): number {
  return flags & (3 | constants.O_SYNC | constants.O_DIRECTORY | constants.O_NOFOLLOW);
}
