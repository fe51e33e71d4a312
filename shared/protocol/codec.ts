/**
 * Messages as bytes: one MessagePack value, and of MessagePack only what godwit itself writes. The bytes are walked
 * and bounded before msgpackr sees them, because the decoder understands more than a peer may use (records that
 * become code, regular expressions, references) and trusts the lengths it reads.
 *
 * How things travel:
 *   number                      number (integers beyond 32 bits as float64)
 *   bigint                      int64 or uint64, and back as bigint; anything wider throws RangeError
 *   Uint8Array, Buffer          bin; arrives as a Buffer that is a view of the message (copy it to keep it for long)
 *   BigUint64Array              extension 1, little-endian; arrives as an aligned copy
 *   BigInt64Array               extension 2, the same
 *   undefined                   extension 0
 * Other classes (Map, Set, Date, further typed arrays) do not travel; the type WireValue says so.
 */
import { addExtension, Packr } from 'msgpackr';

export type WireValue =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | BigUint64Array
  | BigInt64Array
  | readonly WireValue[]
  | { readonly [key: string]: WireValue };

/** The default bound of one message, in bytes. */
export const maxMessageBytes = 64 * 1024 * 1024;
/** A byte can become an object of dozens, so the number of values has its own bound. */
const maxValues = 4 * 1024 * 1024;
const maxDepth = 32;

type Words = BigUint64Array | BigInt64Array;
const words = [
  { type: 1, Class: BigUint64Array },
  { type: 2, Class: BigInt64Array },
] as const;
for (const { type, Class } of words) {
  addExtension({
    type,
    Class,
    pack: (array: Words) => Buffer.from(array.buffer, array.byteOffset, array.byteLength),
    // The copy is what aligns it.
    unpack: (bytes: Uint8Array) => new Class(Uint8Array.from(bytes).buffer),
  });
}

const packr = new Packr({ useRecords: false, variableMapSize: true, int64AsType: 'bigint' });

export function encode(value: WireValue): Buffer {
  return packr.pack(value);
}

/** Throws Error (a sentence) on anything `encode` would not have written. */
export function decode(bytes: Buffer): unknown {
  walk(bytes);
  return packr.unpack(bytes);
}

/** Checks that `bytes` hold exactly one value of the subset above, within the bounds. */
function walk(bytes: Buffer): void {
  const end = bytes.length;
  // One entry for each open container: how many values it still lacks, and whether it is a map.
  const lacking: number[] = [1];
  const isMap: boolean[] = [false];
  let position = 0;
  let values = 0;

  const need = (count: number): void => {
    if (count > end - position) throw new Error('the message ends within a value');
  };
  const length = (size: 1 | 2 | 4): number => {
    need(size);
    position += size;
    return bytes.readUIntBE(position - size, size);
  };
  const skip = (count: number): void => {
    need(count);
    position += count;
  };
  const open = (count: number, map: boolean): void => {
    // Every value takes a byte at least, so a count beyond what is left is a lie.
    need(count);
    if (lacking.length > maxDepth) throw new Error(`the message nests deeper than ${maxDepth}`);
    lacking.push(count);
    isMap.push(map);
  };
  const extension = (bytesOfIt: number): void => {
    const type = bytes[position];
    skip(1 + bytesOfIt);
    if (type === 0 ? bytesOfIt !== 1 : !((type === 1 || type === 2) && bytesOfIt % 8 === 0)) {
      throw new Error(`the message holds an unknown extension (${type}, ${bytesOfIt} bytes)`);
    }
  };

  while (lacking.length > 0) {
    const level = lacking.length - 1;
    const left = lacking[level]!;
    if (left === 0) {
      lacking.pop();
      isMap.pop();
      continue;
    }
    lacking[level] = left - 1;
    if (++values > maxValues) throw new Error(`the message holds more than ${maxValues} values`);
    need(1);
    const token = bytes[position++]!;
    if (isMap[level] && left % 2 === 0 && !isString(token)) throw new Error('a key is not a string');
    if (token < 0x80 || token >= 0xe0) continue;
    if (token < 0x90) open((token & 0x0f) * 2, true);
    else if (token < 0xa0) open(token & 0x0f, false);
    else if (token < 0xc0) skip(token & 0x1f);
    else {
      switch (token) {
        case 0xc0: // nil
        case 0xc2: // false
        case 0xc3: // true
          break;
        case 0xc4: // bin
        case 0xd9: // str
          skip(length(1));
          break;
        case 0xc5:
        case 0xda:
          skip(length(2));
          break;
        case 0xc6:
        case 0xdb:
          skip(length(4));
          break;
        case 0xc7: // ext
          extension(length(1));
          break;
        case 0xc8:
          extension(length(2));
          break;
        case 0xc9:
          extension(length(4));
          break;
        case 0xcc: // uint8, int8
        case 0xd0:
          skip(1);
          break;
        case 0xcd:
        case 0xd1:
          skip(2);
          break;
        case 0xca: // float32
        case 0xce:
        case 0xd2:
          skip(4);
          break;
        case 0xcb: // float64
        case 0xcf:
        case 0xd3:
          skip(8);
          break;
        case 0xd4: // fixext: 1, 2, 4, 8, 16 bytes
        case 0xd5:
        case 0xd6:
        case 0xd7:
        case 0xd8:
          extension(1 << (token - 0xd4));
          break;
        case 0xdc: // array
          open(length(2), false);
          break;
        case 0xdd:
          open(length(4), false);
          break;
        case 0xde: // map
          open(length(2) * 2, true);
          break;
        case 0xdf:
          open(length(4) * 2, true);
          break;
        default:
          throw new Error(`the message holds the unused byte ${token.toString(16)}`);
      }
    }
  }
  if (position !== end) throw new Error(`${end - position} bytes follow the message`);
}

function isString(token: number): boolean {
  return (token >= 0xa0 && token < 0xc0) || (token >= 0xd9 && token <= 0xdb);
}
