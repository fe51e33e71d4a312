/** Opens what the source had open, by its name: the same kind of thing, or nothing. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { MigrationError } from '../shared/errors.js';
import { isMemoryDevice } from '../shared/memory-devices.js';
import type { Description } from '../shared/state/files.js';

type Named = Extract<Description, { path: string }>;

// What these ask for was done when the source opened the file.
const creation = constants.O_CREAT | constants.O_EXCL | constants.O_TRUNC;

/** A descriptor of ours. Throws MigrationError 'file-missing', 'file-differs'. */
export function openNamed({ kind, path, flags }: Named): number {
  // O_NONBLOCK, or a fifo in the file's place would wait for its other end; the right flags are set at last.
  const fd = tryOpen(path, (flags & ~creation) | constants.O_NOCTTY | constants.O_NONBLOCK);
  const found = fstatSync(fd, { bigint: true });
  const wanted = {
    file: found.isFile(),
    directory: found.isDirectory(),
    device: found.isCharacterDevice() && isMemoryDevice(found.rdev),
  }[kind];
  if (wanted) return fd;
  closeSync(fd);
  const what = `${path} is no ${{ file: 'regular file', directory: 'directory', device: 'memory device' }[kind]} on the target`;
  throw new MigrationError('file-differs', what, { object: path });
}

function tryOpen(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch (cause) {
    const what = `${path} cannot be opened on the target`;
    throw new MigrationError('file-missing', what, { object: path }, { cause });
  }
}
