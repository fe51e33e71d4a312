/**
 * When two hosts hold the same file. On one kernel the same inode is the same file, whatever is written to it; else
 * the contents decide.
 */
import { createHash } from 'node:crypto';
import { constants, createReadStream, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
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

/** SHA-256 of a regular file's content in hexadecimal; null where there is none or it cannot be read. */
export async function digestOf(path: string): Promise<string | null> {
  const hash = createHash('sha256');
  try {
    // Without O_NONBLOCK opening a fifo waits; devices have no end.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!(await file.stat()).isFile()) return null;
    await pipeline(createReadStream(path, { fd: file, autoClose: false, highWaterMark: 1 << 20 }), hash);
  } catch {
    return null;
  }
  return hash.digest('hex');
}
