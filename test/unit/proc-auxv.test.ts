import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AuxiliaryType, parseAuxv } from '../../shared/proc/auxv.js';

// Recorded on Linux 6.18 x86-64.
const recorded = Buffer.from(
  [
    '210000000000000000005d4ea27f0000',
    '3300000000000000b02e000000000000',
    '1000000000000000fffb8b1f00000000',
    '06000000000000000010000000000000',
    '11000000000000006400000000000000',
    '0300000000000000404020078a550000',
    '04000000000000003800000000000000',
    '05000000000000000d00000000000000',
    '070000000000000000205d4ea27f0000',
    '08000000000000000000000000000000',
    '0900000000000000f06620078a550000',
    '1900000000000000d924d18efd7f0000',
    '1a000000000000000200000000000000',
    '1f00000000000000eb3fd18efd7f0000',
    '1b000000000000001c00000000000000',
    '1c000000000000002000000000000000',
    '00000000000000000000000000000000',
  ].join(''),
  'hex',
);

test('pairs in order, up to the end', () => {
  const entries = parseAuxv(recorded);
  assert.is(entries.length, 16);
  assert.equal(entries[0], [AuxiliaryType.vdso, 0x7fa24e5d0000n]);
  assert.equal(entries[1], [AuxiliaryType.minimalSignalStack, 0x2eb0n]);
  const values = new Map(entries);
  assert.is(values.get(AuxiliaryType.pageSize), 4096n);
  assert.is(values.get(AuxiliaryType.programHeaders), 0x558a07204040n);
  assert.is(values.get(AuxiliaryType.executable), 0x7ffd8ed13febn);
  assert.is(values.get(AuxiliaryType.rseqFeatureSize), 28n);
  assert.not(values.has(AuxiliaryType.null));
});

test('what stands behind the end is not read', () => {
  assert.equal(parseAuxv(Buffer.concat([recorded, Buffer.alloc(64, 0xff)])), parseAuxv(recorded));
});

test('values keep all 64 bits; a task without memory has none', () => {
  const entry = Buffer.from('0900000000000000ffffffffffffffff', 'hex');
  assert.equal(parseAuxv(Buffer.concat([entry, Buffer.alloc(16)])), [[9n, 2n ** 64n - 1n]]);
  assert.equal(parseAuxv(Buffer.alloc(0)), []);
});

test('a vector without an end, or of 32-bit words, is refused', () => {
  assert.throws(() => parseAuxv(recorded.subarray(0, -16)), /no end/);
  assert.throws(() => parseAuxv(recorded.subarray(0, -8)), /no end/);
  assert.throws(() => parseAuxv(Buffer.from('2000000000f0ffff2100000000e0ffff', 'hex')), /type/);
});

test.run();
