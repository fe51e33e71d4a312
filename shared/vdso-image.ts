/**
 * The image of a vdso: a small ELF shared object, elf(5), vdso(7). Pure. It comes from the other host, so that nothing in
 * it is believed before it was checked.
 */
import { MigrationError } from './errors.js';

/** A function that programs find by name and call. */
export interface VdsoFunction {
  name: string;
  /** Bytes from the image's start. */
  offset: number;
}

const headerBytes = 64;
const sectionBytes = 64;
const symbolBytes = 24;
const mostSymbols = 1024;
const dynamicSymbols = 11; // SHT_DYNSYM
const functionType = 2; // STT_FUNC
const firstReservedIndex = 0xff00; // SHN_LORESERVE

export function isVdsoImage(image: Uint8Array): boolean {
  const { length } = image;
  // \x7fELF, 64-bit, little-endian
  return length >= headerBytes && [0x7f, 0x45, 0x4c, 0x46, 2, 1].every((byte, i) => image[i] === byte);
}

/** The functions it exports, in the order of their places. Throws MigrationError 'kernel-differs'. */
export function vdsoFunctions(image: Uint8Array): VdsoFunction[] {
  if (!isVdsoImage(image)) throw unreadable('no 64-bit ELF image');
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.byteLength);
  const sections = Array.from({ length: bytes.readUInt16LE(60) }, (_, i) => {
    const at = offsetIn(bytes, bytes.readBigUInt64LE(40), (i + 1) * sectionBytes) + i * sectionBytes;
    return {
      type: bytes.readUInt32LE(at + 4),
      offset: bytes.readBigUInt64LE(at + 24),
      bytes: bytes.readBigUInt64LE(at + 32),
      link: bytes.readUInt32LE(at + 40),
    };
  });
  const table = sections.find(({ type }) => type === dynamicSymbols);
  const names = table && sections[table.link];
  if (!table || !names) throw unreadable('no table of dynamic symbols');
  const count = Number(table.bytes) / symbolBytes;
  if (!Number.isInteger(count) || count > mostSymbols) throw unreadable('a table of symbols of odd length');
  const first = offsetIn(bytes, table.offset, count * symbolBytes);
  const functions: VdsoFunction[] = [];
  for (let at = first; at < first + count * symbolBytes; at += symbolBytes) {
    const section = bytes.readUInt16LE(at + 6);
    if ((bytes[at + 4]! & 15) !== functionType || section === 0 || section >= firstReservedIndex) continue;
    const name = nameAt(bytes, names, bytes.readUInt32LE(at));
    functions.push({ name, offset: offsetIn(bytes, bytes.readBigUInt64LE(at + 8), 1) });
  }
  return functions.sort((a, b) => a.offset - b.offset || (a.name < b.name ? -1 : 1));
}

function nameAt(image: Buffer, names: { offset: bigint; bytes: bigint }, index: number): string {
  const start = offsetIn(image, names.offset + BigInt(index), 1);
  const end = image.indexOf(0, start);
  if (BigInt(index) >= names.bytes || end < 0 || end - start > 255)
    throw unreadable('a symbol without a name');
  return image.toString('latin1', start, end);
}

function offsetIn(image: Buffer, offset: bigint, bytes: number): number {
  if (offset + BigInt(bytes) > BigInt(image.length)) throw unreadable('a part that lies outside of it');
  return Number(offset);
}

function unreadable(what: string): MigrationError {
  return new MigrationError('kernel-differs', `the program's vdso cannot be read: ${what}`, {
    object: 'vdso',
  });
}
