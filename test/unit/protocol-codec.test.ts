import { addExtension, Packr } from 'msgpackr';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decode, encode, type WireValue } from '../../shared/protocol/codec.js';
import { generator } from './support/protocol.js';

const both = (value: WireValue) => decode(encode(value));

function refuses(bytes: Buffer | number[] | string, text: RegExp): void {
  const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'hex') : Buffer.from(bytes);
  assert.throws(() => decode(buffer), text, `${buffer.toString('hex').slice(0, 80)} was read`);
}

test('plain values survive', () => {
  const values: WireValue[] = [
    null,
    undefined,
    true,
    false,
    0,
    1,
    -1,
    127,
    128,
    -33,
    65536,
    2 ** 31,
    -(2 ** 31) - 1,
    2 ** 53 - 1,
    1.5,
    0.1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    '',
    'short',
    'ümlaut \u{1f9a4}',
    'x'.repeat(300),
    'y'.repeat(70_000),
    [],
    [1, [2, [3]]],
    {},
    { a: 1, b: { c: [true, null] }, d: undefined },
    Array.from({ length: 70_000 }, (_, i) => i),
    Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`key ${i}`, i])),
  ];
  for (const value of values) assert.equal(both(value), value);
});

test('bigints stay bigints, small or large', () => {
  for (const value of [0n, 1n, -1n, 2n ** 32n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 63n, 2n ** 64n - 1n]) {
    assert.is(both(value), value);
  }
  assert.throws(() => encode(2n ** 64n), /too large/);
});

test('bytes and words survive, also as views of something larger', () => {
  for (const length of [0, 1, 2, 8, 255, 256, 65_535, 65_536, 1_000_000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => i * 7);
    const result = both(bytes);
    assert.instance(result, Uint8Array);
    assert.ok(Buffer.from(bytes).equals(result as Uint8Array), `${length} bytes`);
  }
  for (const length of [0, 1, 2, 3, 31, 32, 8192, 100_000]) {
    const words = BigUint64Array.from({ length }, (_, i) => 2n ** 64n - 1n - BigInt(i));
    assert.equal(both(words), words);
    const signed = BigInt64Array.from({ length }, (_, i) => BigInt(-i));
    assert.equal(both({ odd: 'x', signed }), { odd: 'x', signed });
  }
  const whole = BigUint64Array.from([1n, 2n, 3n, 4n]);
  assert.equal(both(whole.subarray(1, 3)), BigUint64Array.from([2n, 3n]));
  assert.equal(both(Buffer.from('abcdef').subarray(2, 4)), Buffer.from('cd'));
});

test('the bytes on the wire', () => {
  const hex = (value: WireValue) => encode(value).toString('hex');
  assert.is(hex({ a: 1 }), '81a16101');
  assert.is(hex(5n), 'd30000000000000005');
  assert.is(hex(Uint8Array.of(1, 2)), 'c4020102');
  assert.is(hex(BigUint64Array.of(258n)), 'd7010201000000000000');
  assert.is(hex(new BigInt64Array(0)), 'c70002');
});

test('every prefix of a message is refused, and every message with something after it', () => {
  const message = encode({
    a: [1, 2n, 'three', Uint8Array.of(4), BigUint64Array.of(5n)],
    b: 1.5,
    c: undefined,
  });
  for (let length = 0; length < message.length; length += 1) {
    refuses(message.subarray(0, length), /ends within a value/);
  }
  refuses(Buffer.concat([message, Buffer.of(0)]), /1 bytes follow/);
});

test('lengths that lie are refused before anything is allocated', () => {
  refuses('ddffffffff', /ends within a value/);
  refuses('dfffffffff', /ends within a value/);
  refuses('c6ffffffff00', /ends within a value/);
  refuses('dbffffffff00', /ends within a value/);
  refuses('c9ffffffff0100', /ends within a value/);
});

test('nesting and the number of values are bounded', () => {
  const nested = (depth: number) => Buffer.concat([Buffer.alloc(depth, 0x91), Buffer.of(0)]);
  assert.ok(decode(nested(32)));
  refuses(nested(33), /deeper than 32/);
  refuses(nested(1_000_000), /deeper than 32/);
  const many = (count: number) => {
    const bytes = Buffer.alloc(5 + count, 0x80);
    bytes[0] = 0xdd;
    bytes.writeUInt32BE(count, 1);
    return bytes;
  };
  refuses(many(5_000_000), /more than \d+ values/);
});

test('what godwit does not write is refused, though msgpackr would read it', () => {
  class Foreign {}
  addExtension({ Class: Foreign, type: 90, pack: () => Buffer.alloc(8), unpack: () => new Foreign() });
  const packr = new Packr({ moreTypes: true, useRecords: false });
  for (const value of [new Foreign(), /x/, new Set([1]), new Error('x'), new Date(0), new Float32Array(2)]) {
    refuses(packr.pack(value), /unknown extension/);
  }
  refuses(new Packr().pack({ record: 1 }), /unknown extension/);
  refuses(new Packr({ structuredClone: true }).pack([{}, {}]), /./);
  refuses('d47240', /unknown extension/);
  refuses('d472409101', /unknown extension/);
  refuses('c1', /unused byte c1/);
  refuses('810101', /key is not a string/);
  refuses('81c001', /key is not a string/);
  refuses(`c70701${'00'.repeat(7)}`, /unknown extension/);
});

test('__proto__ is only a name', () => {
  const message = Buffer.from('81a95f5f70726f746f5f5f81a161c3', 'hex');
  const value = decode(message) as Record<string, unknown>;
  assert.is(Object.getPrototypeOf(value), Object.prototype);
  assert.is(value.a, undefined);
});

test('garbage never does more than throw an Error', () => {
  const seed = 20261121;
  const random = generator(seed);
  const base = encode({
    a: [1, 2n, 'three', Uint8Array.of(4), BigUint64Array.of(5n)],
    b: { c: 'x'.repeat(40) },
  });
  let read = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const bytes =
      round % 2 ? Buffer.from(base) : Buffer.from(Array.from({ length: random(40) }, () => random(256)));
    for (let i = random(4); i > 0 && bytes.length > 0; i -= 1) bytes[random(bytes.length)] = random(256);
    try {
      decode(bytes);
      read += 1;
    } catch (error) {
      assert.instance(error, Error, `seed ${seed}, round ${round}`);
    }
  }
  assert.ok(read > 0 && read < 20_000);
});

test.run();
