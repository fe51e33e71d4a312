/** The GNU build id of an ELF file: what its linker said it was made from. elf(5); ld(1), --build-id. */
import type { FileHandle } from 'node:fs/promises';

const header = {
  bytes: 64,
  class64: 2,
  littleEndian: 1,
  programHeaders: 32,
  entryBytes: 54,
  entries: 56,
} as const;
const entryBytes = 56;
const noteSegment = 4;
const gnuBuildId = 3;
const mostEntries = 256;
const mostNoteBytes = 1 << 16;

/** In hexadecimal; null for what is no 64-bit ELF file, or has none. */
export async function buildIdOf(file: FileHandle): Promise<string | null> {
  const head = await read(file, 0, header.bytes);
  if (head === null || head.readUInt32BE(0) !== 0x7f454c46) return null;
  if (head[4] !== header.class64 || head[5] !== header.littleEndian) return null;
  const entries = head.readUInt16LE(header.entries);
  if (head.readUInt16LE(header.entryBytes) !== entryBytes || entries > mostEntries) return null;
  const table = await read(file, Number(head.readBigUInt64LE(header.programHeaders)), entries * entryBytes);
  if (table === null) return null;
  for (let at = 0; at < table.length; at += entryBytes) {
    if (table.readUInt32LE(at) !== noteSegment) continue;
    const [offset, bytes] = [table.readBigUInt64LE(at + 8), table.readBigUInt64LE(at + 32)];
    if (bytes > mostNoteBytes) continue;
    const notes = await read(file, Number(offset), Number(bytes));
    const id = notes && buildIdIn(notes);
    if (id) return id;
  }
  return null;
}

/** Among the notes of one segment: name and content are padded to four bytes. Pure. */
export function buildIdIn(notes: Buffer): string | null {
  const padded = (bytes: number) => Math.ceil(bytes / 4) * 4;
  for (let at = 0; at + 12 <= notes.length; ) {
    const [nameBytes, idBytes] = [notes.readUInt32LE(at), notes.readUInt32LE(at + 4)];
    const nameAt = at + 12;
    const idAt = nameAt + padded(nameBytes);
    if (idAt + idBytes > notes.length) return null;
    const isGnu = nameBytes === 4 && notes.toString('latin1', nameAt, nameAt + 4) === 'GNU\0';
    if (isGnu && notes.readUInt32LE(at + 8) === gnuBuildId && idBytes > 0 && idBytes <= 64)
      return notes.toString('hex', idAt, idAt + idBytes);
    at = idAt + padded(idBytes);
  }
  return null;
}

async function read(file: FileHandle, position: number, bytes: number): Promise<Buffer | null> {
  if (!Number.isSafeInteger(position)) return null;
  const buffer = Buffer.alloc(bytes);
  const { bytesRead } = await file.read(buffer, 0, bytes, position);
  return bytesRead === bytes ? buffer : null;
}
