/**
 * The journal: what each side of a hand-over must still know when it comes back (commit/index.ts says what is written
 * when). One file for each migration and side, made and filled before the freeze, so that a record in it costs the
 * write of a block that is allocated already and an fdatasync(2) that has no metadata to bring to the disk.
 *
 * A file belongs to whoever holds its lock (flock(2)): the agent and the helpers that inherit its descriptor.
 */
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { native } from '../native/index.js';
import { type CommitRecord, openRecord, type Recorded } from './commit/index.js';
import { MigrationError } from './errors.js';
import {
  type Contents,
  decodeJournal,
  type Entry,
  encodeBlock,
  type Identity,
  journalBytes,
  positionOf,
  type Role,
  recordOf,
  roles,
} from './journal-format.js';
import { unusable } from './state-directory.js';

const fdatasyncOf = promisify(fdatasync);
/** Whoever only looks holds a lock for a moment. */
const lockTries = 10;
const lockPauseMs = 20;
const draftName = /\.journal\.[0-9]+\.new$/;
const fileName = /^([0-9a-f]{16})\.(source|target)\.journal$/;

export class Journal implements Disposable {
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(
    readonly identity: Identity,
    /** Open for as long as the journal is; a helper that inherits it shares the lock. */
    readonly descriptor: number,
    readonly file: string,
    private latest: { entry: Entry | 'damaged'; sequence: number },
  ) {}

  /**
   * A new journal, on the disk and locked when this resolves; before the freeze. `directory`: see state-directory.ts.
   * Throws MigrationError 'journal-unusable', also where there is one already.
   */
  static create(directory: string, identity: Identity): Journal {
    const file = fileOf(directory, identity.migration, identity.role);
    const draft = `${file}.${process.pid}.new`;
    let descriptor = -1;
    try {
      descriptor = openSync(draft, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
      const entry: Entry = { ...openRecord, atMs: Date.now(), detail: '' };
      const bytes = Buffer.alloc(journalBytes);
      encodeBlock(identity.migration, 0, identity).copy(bytes, positionOf(0));
      encodeBlock(identity.migration, 1, entry).copy(bytes, positionOf(1));
      // Zeros that are written, not only allocated: an extent that was never written changes its state when it is.
      writeWhole(descriptor, bytes, 0);
      fsyncSync(descriptor);
      if (!native.tryLock(descriptor)) throw new Error('its lock is taken');
      // Whole and locked before it has its name; link(2) never replaces.
      linkSync(draft, file);
      unlinkSync(draft);
      syncDirectory(directory);
      return new Journal(identity, descriptor, file, { entry, sequence: 1 });
    } catch (cause) {
      if (descriptor >= 0) {
        closeSync(descriptor);
        tryUnlink(draft);
      }
      throw unusable(`no journal can be kept at ${file}: ${(cause as Error).message}`, file, cause);
    }
  }

  /**
   * Takes over the journal of an agent that is gone; what it says is on the disk by then. Throws MigrationError
   * 'no-such-migration', 'migration-busy' (an agent or a holder has it), 'journal-unusable'.
   */
  static async open(directory: string, migration: string, role: Role): Promise<Journal> {
    const file = fileOf(directory, migration, role);
    const descriptor = openExisting(file, migration);
    try {
      for (let tries = 1; !native.tryLock(descriptor); tries += 1) {
        if (tries < lockTries) await sleep(lockPauseMs);
        else throw new MigrationError('migration-busy', `an agent is at work on migration ${migration}`);
      }
      if (fstatSync(descriptor).nlink === 0) throw noSuchMigration(migration);
      // What a dead agent wrote may not be on the disk yet: nobody may act on it before.
      await fdatasyncOf(descriptor);
      const { identity, entry, sequence } = readContents(file, migration, role);
      if (!identity) throw unusable(`${file} is damaged: it does not say whose it is`, file);
      return new Journal(identity, descriptor, file, { entry, sequence });
    } catch (error) {
      closeSync(descriptor);
      throw error instanceof MigrationError ? error : unusable((error as Error).message, file, error);
    }
  }

  get recorded(): Recorded {
    const { entry } = this.latest;
    return entry === 'damaged' ? entry : recordOf(entry);
  }

  /** Of the last record. */
  get detail(): string {
    return this.latest.entry === 'damaged' ? '' : this.latest.entry.detail;
  }

  /**
   * Resolves when it is on the disk; a reader, as the holder is, sees it at once. One after the other, in the order of
   * the calls. Rejects with MigrationError 'journal-unusable': it may be on the disk all the same.
   */
  record(record: CommitRecord, detail = ''): Promise<void> {
    const written = this.#queue.then(() => this.#write(record, detail));
    this.#queue = written.catch(() => undefined);
    return written;
  }

  async #write(record: CommitRecord, detail: string): Promise<void> {
    const entry: Entry = { ...record, atMs: Date.now(), detail };
    const sequence = this.latest.sequence + 1;
    const block = encodeBlock(this.identity.migration, sequence, entry);
    this.latest = { entry, sequence };
    try {
      // Its number may be another file's by now.
      if (this.#closed) throw new Error('it is closed');
      writeWhole(this.descriptor, block, positionOf(sequence));
      // At once: whoever records stands still until it is done, and a thread of its own takes longer than the disk.
      fdatasyncSync(this.descriptor);
    } catch (cause) {
      throw unusable(`${this.file} could not be written: ${(cause as Error).message}`, this.file, cause);
    }
  }

  /** The lock goes with it, unless a helper has inherited it. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.descriptor);
  }
}

/** What a journal says to somebody who only looks: null when there is none. */
export function peekJournal(directory: string, migration: string, role: Role): Contents | null {
  try {
    return readContents(fileOf(directory, migration, role), migration, role);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** An agent, or a helper of one, is at work on it. */
export function isBusy(directory: string, migration: string, role: Role): boolean {
  const descriptor = openExisting(fileOf(directory, migration, role), migration);
  try {
    return !native.tryLock(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

export interface ListedJournal extends Contents {
  migration: string;
  role: Role;
}

/** All journals of a directory, for `migrate status`: nothing is locked, nothing changed. */
export function listJournals(directory: string): ListedJournal[] {
  const found: ListedJournal[] = [];
  for (const { migration, role } of namesIn(directory)) {
    const contents = peekJournal(directory, migration, role);
    if (contents) found.push({ migration, role, ...contents });
  }
  return found;
}

/**
 * Removes what is over and was last written more than `ageMs` ago. Returns the ids. Nothing that somebody may still ask
 * about goes, however old it is.
 */
export function cleanJournals(directory: string, ageMs: number, nowMs = Date.now()): string[] {
  const removed: string[] = [];
  for (const { migration, role } of namesIn(directory)) {
    const file = fileOf(directory, migration, role);
    if (!isOver(peekJournal(directory, migration, role), nowMs - ageMs)) continue;
    const descriptor = openExisting(file, migration);
    try {
      // Looked at again under the lock: an agent may just have taken it up.
      if (!native.tryLock(descriptor)) continue;
      if (!isOver(readContents(file, migration, role), nowMs - ageMs)) continue;
      unlinkSync(file);
      removed.push(migration);
    } finally {
      closeSync(descriptor);
    }
  }
  for (const name of readdirSync(directory))
    if (draftName.test(name)) removeDraft(directory, name, nowMs - ageMs);
  if (removed.length > 0) syncDirectory(directory);
  return removed;
}

/** What an agent left that died while it made a journal. */
function removeDraft(directory: string, name: string, beforeMs: number): void {
  const draft = path.join(directory, name);
  if (lstatSync(draft).mtimeMs < beforeMs) tryUnlink(draft);
}

function isOver(contents: Contents | null, beforeMs: number): boolean {
  if (contents === null || contents.entry === 'damaged') return false;
  return contents.entry.settled && contents.entry.atMs < beforeMs;
}

function namesIn(directory: string): { migration: string; role: Role }[] {
  const names = readdirSync(directory).sort();
  return names.flatMap((name) => {
    const [, migration, role] = fileName.exec(name) ?? [];
    return migration && roles.includes(role as Role) ? [{ migration, role: role as Role }] : [];
  });
}

function fileOf(directory: string, migration: string, role: Role): string {
  const name = `${migration}.${role}.journal`;
  if (!fileName.test(name)) throw noSuchMigration(migration);
  return path.join(directory, name);
}

function openExisting(file: string, migration: string): number {
  try {
    return openSync(file, constants.O_RDWR | constants.O_NOFOLLOW);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') throw noSuchMigration(migration);
    throw unusable(`${file} cannot be opened: ${(cause as Error).message}`, file, cause);
  }
}

function readContents(file: string, migration: string, role: Role): Contents {
  return decodeJournal(migration, role, readFileSync(file));
}

function writeWhole(descriptor: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(descriptor, bytes, done, bytes.length - done, position + done);
  }
}

/** A name is on the disk when its directory is; fsync(2). */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function tryUnlink(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // It has its name by then, or never had one.
  }
}

function noSuchMigration(migration: string): MigrationError {
  return new MigrationError('no-such-migration', `there is no record of migration ${migration} here`);
}
