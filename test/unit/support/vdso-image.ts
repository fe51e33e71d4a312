/** A vdso with nothing in it but a table of its functions. */

const sectionBytes = 64;
const symbolBytes = 24;

export interface ImageChange {
  /** Type in the low four bits of st_info. */
  type?: number;
  section?: number;
  /** Instead of 11, SHT_DYNSYM. */
  table?: number;
  tableBytes?: number;
  tableOffset?: number;
  namesLink?: number;
  nameIndex?: number;
}

/** Functions by name, at these offsets, in an image of one page. */
export function vdsoImage(functions: Readonly<Record<string, number>>, change: ImageChange = {}): Buffer {
  const image = Buffer.alloc(4096);
  image.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  const names = Object.keys(functions);
  const symbolsAt = 2048;
  const namesAt = symbolsAt + (names.length + 1) * symbolBytes;
  const sectionsAt = 1024;
  image.writeBigUInt64LE(BigInt(sectionsAt), 40);
  image.writeUInt16LE(3, 60);
  let nameAt = 1;
  names.forEach((name, i) => {
    const at = symbolsAt + (i + 1) * symbolBytes;
    image.writeUInt32LE(change.nameIndex ?? nameAt, at);
    image[at + 4] = 0x10 | (change.type ?? 2);
    image.writeUInt16LE(change.section ?? 12, at + 6);
    image.writeBigUInt64LE(BigInt(functions[name]!), at + 8);
    image.write(name, namesAt + nameAt, 'latin1');
    nameAt += name.length + 1;
  });
  const section = (number: number, type: number, offset: number, bytes: number, link = 0) => {
    const at = sectionsAt + number * sectionBytes;
    image.writeUInt32LE(type, at + 4);
    image.writeBigUInt64LE(BigInt(offset), at + 24);
    image.writeBigUInt64LE(BigInt(bytes), at + 32);
    image.writeUInt32LE(link, at + 40);
  };
  section(
    1,
    change.table ?? 11,
    change.tableOffset ?? symbolsAt,
    change.tableBytes ?? (names.length + 1) * symbolBytes,
    change.namesLink ?? 2,
  );
  section(2, 3, namesAt, nameAt);
  return image;
}
