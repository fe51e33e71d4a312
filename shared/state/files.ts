/** Descriptors and what they refer to. Open file descriptions come once, descriptors name them by index. */
import * as v from 'valibot';
import { count, descriptorNumber, list, path, uint32, word } from './values.js';

/** What tells one file's content from another's: see shared/file-identity.ts. */
export const FileStamp = v.strictObject({
  device: word,
  inode: word,
  size: word,
  /** nanoseconds since the epoch */
  modified: word,
  changed: word,
});
export type FileStamp = v.InferOutput<typeof FileStamp>;

export const Description = v.variant('kind', [
  /** A regular file or directory with a name. */
  v.strictObject({
    kind: v.picklist(['file', 'directory']),
    path,
    /** O_* as F_GETFL tells, without creation flags. */
    flags: uint32,
    position: word,
    stamp: FileStamp,
  }),
  /** One of the memory devices (null, zero, full, random, urandom). */
  v.strictObject({ kind: v.literal('device'), path, flags: uint32 }),
  /** One end of a pipe inside the process; `pipe` is an index of the pipes kind. */
  v.strictObject({ kind: v.literal('pipe'), pipe: count, end: v.picklist(['read', 'write']), flags: uint32 }),
  /** epoll(7): what it watches, by descriptor number. */
  v.strictObject({
    kind: v.literal('epoll'),
    flags: uint32,
    watches: list(v.strictObject({ fd: descriptorNumber, events: uint32, data: word }), 1 << 20),
  }),
  /** A standard stream that leads out of the process: `--stdio` says where to. */
  v.strictObject({ kind: v.literal('stream'), direction: v.picklist(['in', 'out']), flags: uint32 }),
]);
export type Description = v.InferOutput<typeof Description>;

export const FilesState = v.strictObject({
  descriptions: list(Description, 1 << 20),
  descriptors: list(
    v.strictObject({ fd: descriptorNumber, description: count, closeOnExec: v.boolean() }),
    1 << 20,
  ),
});
export type FilesState = v.InferOutput<typeof FilesState>;
