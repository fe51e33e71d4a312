/** State within a message: bytes to all but those who need it. */
import * as v from 'valibot';
import { MigrationError } from '../errors.js';
import { decode, encode, type WireValue } from '../protocol/codec.js';
import { PartialState } from './index.js';

export function pack(state: PartialState): Uint8Array {
  return encode(state as unknown as WireValue);
}

/** Throws MigrationError 'protocol-violation' for what is no state. */
export function unpack(bytes: Uint8Array): PartialState {
  try {
    return v.parse(PartialState, decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)));
  } catch (cause) {
    const what = `the source sent a state that is none: ${(cause as Error).message}`;
    throw new MigrationError('protocol-violation', what, {}, { cause });
  }
}
