import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Mapping } from '../../shared/proc/mappings.js';
import { handlerReturnsInto } from '../../source-agent/vdso-exit.js';

const vdso = { start: 0x7ff000n, end: 0x801000n };
const segments = 0x002b000000000033n;
const stackAt = 0x10000n;
const otherAt = 0x50000n;

const range = (start: bigint, bytes: bigint) =>
  ({ start, end: start + bytes, read: true, path: '' }) as Mapping;

/** Two stacks of 16 KiB; frames are [address of rsp, rsp, rip]. */
function found(
  stackPointer: bigint,
  frames: [at: bigint, rsp: bigint, rip: bigint][],
  cs = segments,
): boolean {
  const stacks = new Map([
    [stackAt, Buffer.alloc(0x4000)],
    [otherAt, Buffer.alloc(0x4000)],
  ]);
  const of = (address: bigint) => (address >= otherAt ? otherAt : stackAt);
  for (const [at, rsp, rip] of frames) {
    const words = [rsp, rip, 0x246n, cs];
    words.forEach((word, i) => {
      stacks.get(of(at))!.writeBigUInt64LE(word, Number(at - of(at)) + i * 8);
    });
  }
  const mappings = [range(stackAt, 0x4000n), range(otherAt, 0x4000n)];
  return handlerReturnsInto([vdso], stackPointer, mappings, (address, bytes) => {
    const offset = Number(address - of(address));
    return stacks.get(of(address))!.subarray(offset, offset + bytes);
  });
}

test('a frame above the stack pointer that returns into the vdso', () => {
  assert.ok(found(0x11000n, [[0x11800n, 0x12000n, vdso.start]]));
  assert.ok(found(0x11004n, [[0x11800n, 0x12000n, vdso.end - 1n]]));
});

test('frames that return elsewhere, that are over, or that are none', () => {
  assert.not(found(0x11000n, []));
  assert.not(found(0x11000n, [[0x11800n, 0x12000n, vdso.end]]));
  assert.not(found(0x12000n, [[0x11800n, 0x12000n, vdso.start]]));
  assert.not(found(0x11000n, [[0x11800n, 0x12000n, vdso.start]], 0x23n));
});

test('a handler on the alternate stack has interrupted another one', () => {
  const outer: [bigint, bigint, bigint] = [otherAt + 0x800n, 0x11000n, 0x400000n];
  assert.ok(found(otherAt, [outer, [0x11800n, 0x12000n, vdso.start]]));
  assert.not(found(otherAt, [outer, [0x10800n, 0x12000n, vdso.start]]));
});

test('frames that tell of each other come to an end', () => {
  assert.not(
    found(0x10000n, [
      [0x10800n, otherAt, 0x400000n],
      [otherAt + 0x800n, 0x10000n, 0x400000n],
    ]),
  );
});

test('a stack pointer that leads nowhere', () => {
  assert.not(found(0x99999000n, [[0x11800n, 0x12000n, vdso.start]]));
});

test.run();
