/** Building blocks of the state schemas: every length and number is bounded before it is used. */
import * as v from 'valibot';

const userSpaceEnd = 1n << 47n;

export const address = v.pipe(v.bigint(), v.minValue(0n), v.maxValue(userSpaceEnd));
export const pageAddress = v.pipe(
  address,
  v.check((value) => value % 4096n === 0n, 'not page aligned'),
);
/** Any 64-bit register or mask. */
export const word = v.pipe(v.bigint(), v.minValue(0n), v.maxValue((1n << 64n) - 1n));
export const signedWord = v.pipe(v.bigint(), v.minValue(-(1n << 63n)), v.maxValue((1n << 63n) - 1n));
export const pid = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(4194304));
export const descriptorNumber = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1 << 20));
export const int32 = v.pipe(v.number(), v.integer(), v.minValue(-(2 ** 31)), v.maxValue(2 ** 31 - 1));
export const uint32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 1));
export const count = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER));
export const signalNumber = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64));
export const path = v.pipe(
  v.string(),
  v.maxLength(4096),
  v.startsWith('/'),
  v.check((value) => !value.includes('\0'), 'holds a zero byte'),
);
export const text = v.pipe(v.string(), v.maxLength(4096));

export function bytes(most: number) {
  return v.pipe(
    v.custom<Uint8Array>((value) => value instanceof Uint8Array, 'not bytes'),
    v.check((value) => value.byteLength <= most, `longer than ${most} bytes`),
  );
}

export function list<Item extends v.GenericSchema>(item: Item, most: number) {
  return v.pipe(v.array(item), v.maxLength(most));
}
