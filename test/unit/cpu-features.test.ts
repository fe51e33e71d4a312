import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { extendedStatesOf, featuresOf, signalFrameBytes } from '../../shared/cpu-features.js';

/** Words of some leaves: "leaf/subleaf" to eax, ebx, ecx, edx. */
const reader = (leaves: Record<string, number[]>) => (leaf: number, subleaf: number) =>
  leaves[`${leaf.toString(16)}/${subleaf}`] ?? [0, 0, 0, 0];

test('bits become names, in order', () => {
  const read = reader({
    '1/0': [0, 0, (1 << 0) | (1 << 23), (1 << 26) | (1 << 4)],
    '80000001/0': [0, 0, 1 << 0, 1 << 27],
    '7/1': [1 << 7, 0, 0, 0],
  });
  assert.equal(featuresOf(read, 0n, 2n), [
    'cmpccxadd',
    'fsgsbase',
    'lahf_lm',
    'pni',
    'popcnt',
    'rdtscp',
    'sse2',
    'tsc',
  ]);
});

test('what only kernels can use is left out', () => {
  // vmx, x2apic; smep, smap; pcid
  const read = reader({
    '1/0': [0, 0, (1 << 5) | (1 << 21) | (1 << 17), 0],
    '7/0': [0, (1 << 7) | (1 << 20), 0, 0],
  });
  assert.equal(featuresOf(read, 0xe7n, 0n), []);
});

test('a feature whose registers the kernel does not enable cannot be used', () => {
  // avx, avx2 and avx512f; the top bit, which JavaScript takes for a sign: avx512vl
  const read = reader({
    '1/0': [0, 0, 1 << 28, 0],
    '7/0': [0, (1 << 5) | (1 << 16) | (1 << 31), 0, 1 << 24],
  });
  assert.equal(featuresOf(read, 0x3n, 0n), []);
  assert.equal(featuresOf(read, 0x7n, 0n), ['avx', 'avx2']);
  assert.equal(featuresOf(read, 0xe7n, 0n), ['avx', 'avx2', 'avx512f', 'avx512vl']);
  assert.ok(featuresOf(read, 0x600e7n, 0n).includes('amx_tile'));
});

test('versions of AVX10 hold those before', () => {
  const read = reader({ '7/1': [0, 0, 0, 1 << 19], '24/0': [0, 2, 0, 0] });
  assert.equal(featuresOf(read, 0xe7n, 0n), ['avx10.1', 'avx10.2']);
  assert.equal(featuresOf(read, 0x7n, 0n), []);
});

test('names and what this CPU has agree with /proc/cpuinfo, as far as the kernel names it', () => {
  const flags = /^flags\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))![1]!.split(' ');
  const own = featuresOf(native.cpuid, native.enabledStates(), 2n);
  for (const name of ['sse2', 'cx8', 'fxsr', 'tsc']) assert.ok(own.includes(name), name);
  // The kernel hides what it does not let programs use, and older ones have no name for the latest.
  const unknown = own.filter(
    (name) => !flags.includes(name) && flags.includes('cpuid') && name !== 'osxsave',
  );
  assert.ok(unknown.length < own.length / 3, `/proc/cpuinfo does not know ${unknown}`);
});

test('where components lie', () => {
  const read = reader({ 'd/2': [256, 576, 0, 0], 'd/9': [8, 2432, 0, 0], 'd/12': [8192, 2816, 6, 0] });
  assert.equal(extendedStatesOf(read, 0x207n), [
    { component: 2, offset: 576, bytes: 256, dynamic: false },
    { component: 9, offset: 2432, bytes: 8, dynamic: false },
  ]);
  assert.equal(extendedStatesOf(reader({ 'd/18': [8192, 2816, 6, 0] }), 1n << 18n), [
    { component: 18, offset: 2816, bytes: 8192, dynamic: true },
  ]);
  assert.equal(extendedStatesOf(read, 0x3n), []);
});

test('the room of a signal frame grows with the components that every task has', () => {
  assert.is(signalFrameBytes([]), 528 + 576);
  const avx = { component: 2, offset: 576, bytes: 256, dynamic: false };
  assert.is(signalFrameBytes([avx]), 528 + 832);
  assert.is(signalFrameBytes([avx, { component: 18, offset: 2816, bytes: 8192, dynamic: true }]), 528 + 832);
});

test.run();
