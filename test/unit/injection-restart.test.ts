import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  afterSignalReturn,
  asRestartable,
  deadlineHolder,
  handlingFirst,
  inRestartBlock,
  isInterrupted,
} from '../../shared/injection/restart.js';
import { get, getSigned } from '../../shared/injection/x86-64/registers.js';
import { socketWaits, syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { inCall, registers } from './support/registers.js';

const EINTR = -4n;
const restartNoHand = -514n;
const restartBlock = -516n;
const restartAlways = -513n;
const marked = [
  syscalls.read,
  syscalls.write,
  syscalls.readv,
  syscalls.writev,
  syscalls.sendfile,
  syscalls.splice,
  syscalls.select,
  syscalls.pselect6,
  syscalls.ppoll,
  syscalls.ioUringEnter,
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
  for (const code of [-512n, restartAlways, restartNoHand, restartBlock]) {
    assert.ok(isInterrupted(inCall(0, code)), `${code}`);
  }
  for (const code of [-515n, -517n, -511n, 0n, 5n]) assert.not.ok(isInterrupted(inCall(0, code)));
  assert.not.ok(isInterrupted(inCall(syscalls.close, EINTR)), 'a call that is not made twice');
});

test('the same numbers outside of a call mean nothing', () => {
  for (const rax of [EINTR, -512n, restartBlock]) {
    assert.not.ok(isInterrupted(registers({ rax })));
    assert.not.ok(inRestartBlock(registers({ rax })));
  }
});

test('only -516 is held by a restart block', () => {
  assert.ok(inRestartBlock(inCall(syscalls.poll, restartBlock)));
  for (const code of [-512n, restartAlways, restartNoHand])
    assert.not.ok(inRestartBlock(inCall(syscalls.poll, code)));
});

test('calls that answer EINTR to being stopped are marked as restartable', () => {
  for (const number of marked) {
    const after = asRestartable(inCall(number, EINTR, { rdi: 3n }));
    assert.is(getSigned(after, 'rax'), restartNoHand, `call ${number}`);
    assert.is(get(after, 'originalRax'), BigInt(number));
    assert.is(get(after, 'rdi'), 3n);
  }
});

test('what other calls say stays', () => {
  for (const number of [syscalls.close, syscalls.nanosleep, syscalls.futex]) {
    const before = inCall(number, EINTR);
    assert.is(asRestartable(before), before, `call ${number}`);
  }
  for (const result of [2n, 0n, -11n]) {
    const done = inCall(syscalls.epollWait, result);
    assert.is(asRestartable(done), done);
  }
});

test('who knows the deadline', () => {
  assert.is(deadlineHolder(inCall(syscalls.poll, restartBlock)), 'kernel');
  for (const number of [syscalls.select, syscalls.pselect6, syscalls.ppoll]) {
    assert.is(deadlineHolder(inCall(number, restartNoHand)), 'program');
    assert.is(deadlineHolder(inCall(number, EINTR)), 'nobody', 'its memory could not be written');
  }
  assert.is(deadlineHolder(inCall(syscalls.epollWait, EINTR)), 'nobody');
  assert.is(deadlineHolder(inCall(syscalls.ioPgetevents, restartNoHand)), 'nobody');
});

test('after rt_sigreturn an interrupted call is made again, and no other', () => {
  const again = afterSignalReturn(inCall(syscalls.nanosleep, restartBlock, { rip: 0x1002n }), false);
  assert.equal([get(again, 'rax'), get(again, 'rip')], [BigInt(syscalls.nanosleep), 0x1000n]);
  for (const [state, deliverable] of [
    [registers({ rax: restartBlock }), false],
    [inCall(0, 17n), false],
    [inCall(syscalls.close, EINTR), true],
  ] as const) {
    assert.is(afterSignalReturn(state, deliverable), state);
  }
});

test('after rt_sigreturn a handler has run where a signal was pending: what ends by handlers has ended', () => {
  for (const before of [
    inCall(syscalls.ppoll, restartNoHand, { rip: 0x1002n }),
    inCall(syscalls.nanosleep, restartBlock, { rip: 0x1002n }),
  ]) {
    const after = afterSignalReturn(before, true);
    assert.equal([getSigned(after, 'rax'), get(after, 'rip')], [EINTR, 0x1002n]);
    assert.not.ok(isInterrupted(after));
  }
  for (const code of [-512n, restartAlways]) {
    const after = afterSignalReturn(inCall(syscalls.read, code, { rip: 0x1002n }), true);
    assert.equal([get(after, 'rax'), get(after, 'rip')], [BigInt(syscalls.read), 0x1000n]);
  }
});

test('with its temporary mask lost a call is made again, behind the handler', () => {
  const after = handlingFirst(inCall(syscalls.ppoll, restartNoHand, { rip: 0x1002n }));
  assert.equal([get(after, 'rax'), get(after, 'rip')], [BigInt(syscalls.ppoll), 0x1000n]);
  assert.not.ok(isInterrupted(after), 'no handler makes EINTR of it');
  const done = inCall(syscalls.ppoll, 1n);
  assert.is(handlingFirst(done), done);
});

test.run();
