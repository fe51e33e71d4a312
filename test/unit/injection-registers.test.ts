import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  asCalledAgain,
  currentSyscall,
  fromBytes,
  get,
  getSigned,
  Register,
  toBytes,
  withRegisters,
} from '../../shared/injection/x86-64/registers.js';
import { registers } from './support/registers.js';

test('27 words, each name one of them', () => {
  assert.equal(
    Object.values(Register),
    Array.from({ length: 27 }, (_, i) => i),
  );
});

test("changes are made in a copy, as two's complement", () => {
  const before = registers({ rax: 7n });
  const after = withRegisters(before, { rax: -4n });
  assert.is(get(before, 'rax'), 7n);
  assert.is(get(after, 'rax'), 0xfffffffffffffffcn);
  assert.is(getSigned(after, 'rax'), -4n);
});

test('a thread outside of system calls has none', () => {
  assert.is(currentSyscall(registers({})), null);
  assert.is(currentSyscall(registers({ originalRax: 0n })), 0);
  assert.is(currentSyscall(registers({ originalRax: 0xffffffffn })), -1);
});

test('calling again goes back over the two bytes of the instruction', () => {
  const again = asCalledAgain(registers({ originalRax: 35n, rax: -516n, rip: 0x1002n }));
  assert.equal([get(again, 'rax'), get(again, 'rip'), currentSyscall(again)], [35n, 0x1000n, null]);
});

test('bytes and back, also from an odd place', () => {
  const values = registers({ rip: 0x123456789abcdefn, gs: 5n });
  const bytes = toBytes(values);
  assert.is(bytes.byteLength, 216);
  const shifted = new Uint8Array(217);
  shifted.set(bytes, 1);
  assert.equal(fromBytes(shifted.subarray(1)), values);
});

test.run();
