import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  afterSignalReturn,
  asRestartable,
  inRestartBlock,
  isInterrupted,
  timeoutInRegister,
} from '../../shared/injection/restart.js';
import { get, getSigned } from '../../shared/injection/x86-64/registers.js';
import { socketWaits, syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { inCall, registers } from './support/registers.js';

const EINTR = -4n;
const restartNoHand = -514n;
const restartBlock = -516n;
const marked = [
  syscalls.epollWait,
  syscalls.epollPwait,
  syscalls.epollPwait2,
  syscalls.rtSigtimedwait,
  syscalls.semop,
  syscalls.semtimedop,
  syscalls.ioGetevents,
  syscalls.ioPgetevents,
  ...socketWaits,
];

test('every restart code of the kernel counts as interrupted', () => {
  for (const code of [-512n, -513n, restartNoHand, restartBlock]) {
    assert.ok(isInterrupted(inCall(0, code), false), `${code}`);
    assert.ok(isInterrupted(inCall(0, code), true), `${code} with a signal`);
  }
  for (const code of [-515n, -517n, -511n, EINTR, 0n, 5n])
    assert.not.ok(isInterrupted(inCall(0, code), false));
});

test('the same numbers outside of a call mean nothing', () => {
  for (const rax of [EINTR, -512n, restartBlock]) {
    assert.not.ok(isInterrupted(registers({ rax }), false));
    assert.not.ok(inRestartBlock(registers({ rax })));
  }
});

test('only -516 is held by a restart block', () => {
  assert.ok(inRestartBlock(inCall(syscalls.poll, restartBlock)));
  for (const code of [-512n, -513n, restartNoHand])
    assert.not.ok(inRestartBlock(inCall(syscalls.poll, code)));
});

test('calls that answer EINTR to being stopped are marked as restartable', () => {
  for (const number of marked) {
    const after = asRestartable(inCall(number, EINTR, { rdi: 3n }), false, 0n);
    assert.is(getSigned(after, 'rax'), restartNoHand, `call ${number}`);
    assert.is(get(after, 'originalRax'), BigInt(number));
    assert.is(get(after, 'rdi'), 3n);
  }
});

test('an EINTR that the program would have seen at home stays', () => {
  for (const before of [inCall(syscalls.epollWait, EINTR), inCall(syscalls.rtSigtimedwait, EINTR)]) {
    assert.is(asRestartable(before, true, 0n), before, 'a signal is deliverable');
  }
  for (const number of [0, syscalls.nanosleep, syscalls.futex]) {
    const before = inCall(number, EINTR);
    assert.is(asRestartable(before, false, 0n), before, `call ${number}`);
  }
  const done = inCall(syscalls.epollWait, 2n);
  assert.is(asRestartable(done, false, 0n), done);
});

test("what epoll_wait has waited is taken from its time-out, rounded in the program's favour", () => {
  for (const number of [syscalls.epollWait, syscalls.epollPwait]) {
    const wait = (ms: bigint, sleptNs: bigint) =>
      getSigned(asRestartable(inCall(number, EINTR, { r10: ms }), false, sleptNs), 'r10');
    assert.is(wait(1000n, 250_900_000n), 750n);
    assert.is(wait(1000n, 0n), 1000n);
    assert.is(wait(1000n, 5_000_000_000n), 0n, 'never negative: that would be for ever');
    assert.is(wait(-1n, 250_000_000n), -1n, 'for ever stays for ever');
    assert.is(wait(0xffffffffn, 250_000_000n), 0xffffffffn, 'the upper half of r10 does not count');
    assert.is(wait(0n, 250_000_000n), 0n);
  }
});

test('time-outs that lie behind a pointer are no numbers of milliseconds', () => {
  const pwait2 = inCall(syscalls.epollPwait2, EINTR, { r10: 0x7f0000001000n });
  assert.is(timeoutInRegister(pwait2), null);
  assert.is(get(asRestartable(pwait2, false, 1_000_000_000n), 'r10'), 0x7f0000001000n);
  assert.is(timeoutInRegister(registers({ r10: 5n })), null);
  assert.is(timeoutInRegister(inCall(syscalls.epollWait, EINTR, { r10: 5n })), 5);
});

test('after rt_sigreturn an interrupted call is made again, and no other', () => {
  const again = afterSignalReturn(inCall(syscalls.nanosleep, restartBlock, { rip: 0x1002n }), false);
  assert.equal([get(again, 'rax'), get(again, 'rip')], [BigInt(syscalls.nanosleep), 0x1000n]);
  for (const [state, deliverable] of [
    [registers({ rax: restartBlock }), false],
    [inCall(0, 17n), false],
    [inCall(syscalls.epollWait, EINTR), true],
  ] as const) {
    assert.is(afterSignalReturn(state, deliverable), state);
  }
});

test.run();
