/**
 * What a journal is on the disk: sixteen blocks of 4 KiB. The first says which migration it is about and never changes;
 * the others take records in turn, each a snapshot, and the last whole one counts. A record is shorter than the sector it
 * begins, the smallest piece that disks write whole; a digest over it and the migration's id tells a whole one from
 * anything else. Every record has a block of its own, so that writing one cannot harm another.
 *
 *     0   magic and version   8 bytes
 *     8   sequence            u32, little-endian: 0 for the first block, then 1, 2 ...
 *     12  length              u32: bytes of JSON
 *     16  JSON
 *         SHA-256             32 bytes, of the id and all of the above
 */
import { createHash } from 'node:crypto';
import * as v from 'valibot';
import type { CommitRecord } from './commit/index.js';

export const blockBytes = 4096;
export const blocks = 16;
export const journalBytes = blockBytes * blocks;
const sectorBytes = 512;
const magic = Buffer.from('godwitJ1', 'latin1');
const headBytes = 16;
const digestBytes = 32;
const recordBlocks = blocks - 1;
const unwritten = Buffer.alloc(blockBytes);

const migrationId = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/));
const shortText = v.pipe(v.string(), v.maxLength(255));
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

export const roles = ['source', 'target'] as const;
export type Role = (typeof roles)[number];

/** Which migration, and which process of this host. */
export const Identity = v.strictObject({
  migration: migrationId,
  role: v.picklist(roles),
  /** The other side, as this one reaches it. */
  peer: shortText,
  pid: whole,
  /** /proc/PID/stat, field 22: with the boot id it tells a process from every other that bears its pid. */
  startTime: v.pipe(v.string(), v.regex(/^[0-9]{1,20}$/)),
  bootId: shortText,
  name: shortText,
  /** Milliseconds since 1970. */
  createdMs: whole,
});
export type Identity = v.InferOutput<typeof Identity>;

/** A record of the hand-over, and what only a person or the driver cares for. */
export const Entry = v.strictObject({
  decision: v.picklist(['open', 'commit', 'abort']),
  epoch: whole,
  by: v.picklist(['rule', 'person']),
  settled: v.boolean(),
  atMs: whole,
  /** For instance how the process ended. */
  detail: v.pipe(v.string(), v.maxLength(200)),
});
export type Entry = v.InferOutput<typeof Entry>;

export interface Contents {
  /** Null when it cannot be read. */
  identity: Identity | null;
  /** The last record; 'damaged' where it, or one after it, cannot be read. */
  entry: Entry | 'damaged';
  /** The sequence of the last readable record. */
  sequence: number;
}

export function recordOf({ decision, epoch, by, settled }: Entry): CommitRecord {
  return { decision, epoch, by, settled };
}

/** Where the block of a sequence lies, in bytes. */
export function positionOf(sequence: number): number {
  return sequence === 0 ? 0 : (1 + ((sequence - 1) % recordBlocks)) * blockBytes;
}

/** A block. Throws RangeError for a record that would not fit its sector, or an identity its block. */
export function encodeBlock(migration: string, sequence: number, value: Identity | Entry): Buffer {
  const text = Buffer.from(JSON.stringify(value));
  const most = (sequence === 0 ? blockBytes : sectorBytes) - headBytes - digestBytes;
  if (text.length > most) throw new RangeError(`a record of ${text.length} bytes, where ${most} fit`);
  const block = Buffer.alloc(blockBytes);
  magic.copy(block);
  block.writeUInt32LE(sequence, 8);
  block.writeUInt32LE(text.length, 12);
  text.copy(block, headBytes);
  const end = headBytes + text.length;
  digestOf(migration, block.subarray(0, end)).copy(block, end);
  return block;
}

/** What a file of this migration and role says; it may be cut short, or hold anything. */
export function decodeJournal(migration: string, role: Role, bytes: Uint8Array): Contents {
  const found = Array.from({ length: blocks }, (_, i) =>
    decodeBlock(migration, i, viewOf(bytes.subarray(i * blockBytes, (i + 1) * blockBytes))),
  );
  const first = found[0]!;
  const parsed = v.safeParse(Identity, isWhole(first) ? first.value : null);
  const isOurs = parsed.success && parsed.output.migration === migration && parsed.output.role === role;
  const identity = isOurs ? parsed.output : null;
  let last: Block | undefined;
  for (const block of found.slice(1)) {
    if (isWhole(block) && block.sequence > (last?.sequence ?? 0)) last = block;
  }
  if (!last) return { identity, entry: 'damaged', sequence: 0 };
  const entry = v.safeParse(Entry, last.value);
  // What was written after it, or was being written: nobody knows what it said.
  const next = found[positionOf(last.sequence + 1) / blockBytes];
  const damaged = next === 'damaged' || !entry.success;
  return { identity, entry: damaged ? 'damaged' : entry.output, sequence: last.sequence };
}

interface Block {
  sequence: number;
  value: unknown;
}

function isWhole(block: Block | 'empty' | 'damaged' | undefined): block is Block {
  return typeof block === 'object';
}

function decodeBlock(migration: string, index: number, block: Buffer): Block | 'empty' | 'damaged' {
  if (block.length < blockBytes) return 'damaged';
  if (block.equals(unwritten)) return 'empty';
  const length = block.readUInt32LE(12);
  const end = headBytes + length;
  if (!block.subarray(0, magic.length).equals(magic) || end + digestBytes > blockBytes) return 'damaged';
  const digest = digestOf(migration, block.subarray(0, end));
  if (!digest.equals(block.subarray(end, end + digestBytes))) return 'damaged';
  const sequence = block.readUInt32LE(8);
  if (positionOf(sequence) !== index * blockBytes) return 'damaged';
  try {
    return { sequence, value: JSON.parse(block.toString('utf8', headBytes, end)) };
  } catch {
    return 'damaged'; // whole, but written by something else
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function digestOf(migration: string, bytes: Uint8Array): Buffer {
  return createHash('sha256').update(migration).update(bytes).digest();
}
