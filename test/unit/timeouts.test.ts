import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  readTimeout,
  type TimeoutPlace,
  timeoutPlace,
  wholeMilliseconds,
  writtenTimeout,
} from '../../shared/injection/timeouts.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { inCall } from './support/registers.js';

const nothing = (address: bigint): Buffer => {
  throw new Error(`nothing to read at ${address.toString(16)}`);
};

test('the place of each time limit', () => {
  const pointer = 0x7f0000001000n;
  const all = { rdi: pointer, rdx: pointer, r10: pointer, r8: pointer };
  for (const [number, register, form] of [
    [syscalls.nanosleep, 'rdi', 'timespec'],
    [syscalls.clockNanosleep, 'rdx', 'timespec'],
    [syscalls.futex, 'r10', 'timespec'],
    [syscalls.ppoll, 'rdx', 'timespec'],
    [syscalls.select, 'r8', 'timeval'],
    [syscalls.pselect6, 'r8', 'timespec'],
    [syscalls.epollPwait2, 'r10', 'timespec'],
    [syscalls.rtSigtimedwait, 'rdx', 'timespec'],
    [syscalls.semtimedop, 'r10', 'timespec'],
    [syscalls.ioGetevents, 'r8', 'timespec'],
    [syscalls.ioPgetevents, 'r8', 'timespec'],
    [syscalls.poll, 'rdx', 'milliseconds'],
    [syscalls.epollWait, 'r10', 'milliseconds'],
    [syscalls.epollPwait, 'r10', 'milliseconds'],
  ] as const) {
    assert.equal(
      timeoutPlace(inCall(number, -4n, all)),
      { register, form } satisfies TimeoutPlace,
      `${number}`,
    );
    const forEver = form === 'milliseconds' ? 0xffffffffn : 0n;
    assert.is(timeoutPlace(inCall(number, -4n, { ...all, [register]: forEver })), null, `${number} for ever`);
  }
});

test('points in time, and calls without a limit of their own, have none', () => {
  const pointer = { rdx: 0x1000n, r10: 0x1000n };
  assert.is(timeoutPlace(inCall(syscalls.clockNanosleep, -514n, { ...pointer, rsi: 1n })), null);
  for (const command of [6n, 9n, 11n, 13n, 9n | 0x80n | 0x100n]) {
    assert.is(timeoutPlace(inCall(syscalls.futex, -512n, { ...pointer, rsi: command })), null, `${command}`);
  }
  assert.ok(timeoutPlace(inCall(syscalls.futex, -512n, { ...pointer, rsi: 0x80n })));
  assert.is(timeoutPlace(inCall(syscalls.read, -512n, pointer)), null);
});

test('a restarted call is named by whoever knows it', () => {
  const registers = inCall(syscalls.restartSyscall, -516n, { rdx: 5n });
  assert.is(timeoutPlace(registers), null);
  assert.equal(timeoutPlace(registers, syscalls.poll), { register: 'rdx', form: 'milliseconds' });
});

test('what was written is read again, and never less', () => {
  for (const form of ['timespec', 'timeval'] as const) {
    for (const ns of [0n, 1n, 999n, 999_999_999n, 1_000_000_000n, 86_400_000_000_001n]) {
      const registers = inCall(syscalls.ppoll, -514n, { rdx: 0x1000n });
      const bytes = writtenTimeout(form, ns);
      const back = readTimeout(registers, { register: 'rdx', form }, () => bytes);
      assert.ok(back >= ns && back - ns < (form === 'timeval' ? 1000n : 1n), `${form} ${ns}: ${back}`);
      assert.ok(bytes.readBigInt64LE(8) < (form === 'timeval' ? 1_000_000n : 1_000_000_000n));
    }
  }
  assert.equal([0n, 1n, 1_000_000n, 1_000_001n].map(wholeMilliseconds), [0n, 1n, 1n, 2n]);
});

test('milliseconds are an int: the upper half of the register does not count', () => {
  const registers = inCall(syscalls.epollWait, -4n, { r10: 0xdead_0000_0000n + 250n });
  const place = timeoutPlace(registers)!;
  assert.is(readTimeout(registers, place, nothing), 250_000_000n);
});

test.run();
