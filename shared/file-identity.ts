/**
 * When two hosts hold the same file. On one kernel the same inode is the same file, whatever is written to it; else
 * the contents decide.
 */
import { createHash } from 'node:crypto';
import { constants, statSync } from 'node:fs';
import { type FileHandle, open, statfs } from 'node:fs/promises';
import { buildIdOf } from './build-id.js';
import type { FileStamp } from './state/files.js';

/** The stamp of a path now; null where there is nothing. */
export function stampOf(path: string): (FileStamp & { directory: boolean; regular: boolean }) | null {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats
    ? {
        device: stats.dev,
        inode: stats.ino,
        size: stats.size,
        modified: stats.mtimeNs,
        changed: stats.ctimeNs,
        directory: stats.isDirectory(),
        regular: stats.isFile(),
      }
    : null;
}

export function isSameInode(a: FileStamp, b: FileStamp): boolean {
  return a.device === b.device && a.inode === b.inode;
}

/** True when nothing was written or changed between the two looks. */
export function isUnchanged(a: FileStamp, b: FileStamp): boolean {
  return isSameInode(a, b) && a.size === b.size && a.modified === b.modified && a.changed === b.changed;
}

/** File systems that make their content up: reading may wait for ever or do something. statfs(2), linux/magic.h. */
const madeUp: ReadonlySet<number> = new Set([
  ...[0x9fa0, 0x62656572, 0x64626720, 0x74726163, 0x27e0eb, 0x63677270, 0x73636673, 0x62656570, 0xcafe4a11],
  ...[0xde5e81e4, 0x6e736673, 0x19800202, 0x42494e4d, 0x6165676c, 0x65735543],
]);
const pathOnly = 0o10000000; // O_PATH

/**
 * A regular file, open for reading; null for everything else, which is not even opened: opening a device can do
 * something, and opening a fifo waits.
 */
async function openRegular(path: string): Promise<FileHandle | null> {
  await using named = await open(path, pathOnly);
  if (!(await named.stat()).isFile()) return null;
  const again = `/proc/self/fd/${named.fd}`;
  if (madeUp.has((await statfs(again)).type)) return null;
  return await open(again, constants.O_RDONLY | constants.O_NONBLOCK);
}

/** SHA-256 of a regular file's content in hexadecimal; null where there is none or it cannot be read. */
export async function digestOf(path: string): Promise<string | null> {
  return ofRegular(path, contentDigest);
}

// As much as there was when it was opened: a file that grows as fast as it is read has an end all the same.
async function contentDigest(file: FileHandle): Promise<string> {
  const hash = createHash('sha256');
  const { size } = await file.stat();
  const buffer = Buffer.allocUnsafe(Math.min(Math.max(size, 1), readBytes));
  for (let at = 0; at < size; ) {
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest('hex');
}

const readBytes = 1 << 20;

/**
 * How a file is told from others: by its whole content, or, of a large executable or library, by its build id, which
 * its linker derived from all that is loaded of it.
 */
export type IdentityForm = 'sha256' | 'build-id';
const smallBytes = 16n << 20n;

export function formFor(size: bigint, mapped: boolean, compareContents: boolean): IdentityForm {
  return mapped && size > smallBytes && !compareContents ? 'build-id' : 'sha256';
}

/** "sha256:..." or "build-id:..."; a file without a build id is read whole. Null where it cannot be read. */
export async function identityOf(path: string, form: IdentityForm): Promise<string | null> {
  return ofRegular(path, async (file) => {
    const id = form === 'build-id' ? await buildIdOf(file) : null;
    return id === null ? `sha256:${await contentDigest(file)}` : `build-id:${id}`;
  });
}

async function ofRegular(path: string, use: (file: FileHandle) => Promise<string>): Promise<string | null> {
  try {
    await using file = await openRegular(path);
    return file && (await use(file));
  } catch {
    return null;
  }
}
