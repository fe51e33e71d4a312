import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { writtenTimeout } from '../../shared/injection/timeouts.js';
import type { Registers } from '../../shared/injection/x86-64/registers.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { type SleepObservation, WaitClock } from '../../source-agent/waits.js';
import { inCall, registers } from './support/registers.js';

const restartBlock = -516n;
const second = 1000000000n;
const tid = 7;
const blocked = (number: number, values: Parameters<typeof inCall>[2] = {}) =>
  inCall(number, restartBlock, values);

const noTimespec = (address: bigint): Buffer => {
  throw new Error(`nothing to read at ${address.toString(16)}`);
};
const timespecAt = (where: bigint, value: bigint) => (address: bigint) => {
  assert.is(address, where);
  return writtenTimeout('timespec', value);
};

function remaining(
  values: Registers,
  slept: Slept | undefined,
  read = noTimespec,
  clock = new WaitClock(),
): bigint | null {
  return remainingIn(clock, tid, values, slept, read);
}

type Slept = Omit<SleepObservation, 'sleeps' | 'atNs'>;

/** The moments of the look and of the stop. */
const lookNs = 1000n * second;
const stopNs = lookNs + 1000000n;

function remainingIn(
  clock: WaitClock,
  thread: number,
  values: Registers,
  slept: Slept | undefined,
  read = noTimespec,
): bigint | null {
  const observation = slept && { ...slept, sleeps: 1, atNs: lookNs };
  return clock.remaining(thread, values, observation, stopNs, read)?.ns ?? null;
}

/** The clock goes on while the test runs, so what remains is a little less. */
function assertAbout(actual: bigint | null, expected: bigint): void {
  assert.ok(
    actual !== null && actual <= expected && actual > expected - second,
    `${actual} is not ${expected}`,
  );
}

test('a thread that was not interrupted waits for nothing that we must know', () => {
  for (const values of [registers({}), inCall(syscalls.poll, 0n), registers({ rax: restartBlock })]) {
    assert.is(remaining(values, { sleptNs: 1n, sleepsIn: 'hrtimer_nanosleep' }), null);
  }
});

test('what was asked for less what was slept', () => {
  const slept = { sleptNs: 3n * second, sleepsIn: 'hrtimer_nanosleep' };
  const read = timespecAt(0x1000n, 10n * second);
  assertAbout(remaining(blocked(syscalls.nanosleep, { rdi: 0x1000n }), slept, read), 7n * second);
  assertAbout(remaining(blocked(syscalls.clockNanosleep, { rdx: 0x1000n }), slept, read), 7n * second);
  assertAbout(
    remaining(
      blocked(syscalls.futex, { rsi: 0x80n, r10: 0x1000n }),
      { ...slept, sleepsIn: 'futex_wait' },
      read,
    ),
    7n * second,
  );
  assertAbout(
    remaining(blocked(syscalls.poll, { rdx: 10000n }), { ...slept, sleepsIn: 'do_sys_poll' }),
    7n * second,
  );
});

test('a thread whose wait had ended before it stood still was caught in its next one, all of which is left', () => {
  const epoll = inCall(syscalls.epollWait, -4n, { r10: 7n });
  const ms = (n: number) => BigInt(Math.round(n * 1000000));
  const slept = (time: number) => ({ sleptNs: ms(time), sleepsIn: 'do_epoll_wait' });
  assert.is(remaining(epoll, slept(5.9)), ms(1.1), 'still in it: 6.9 ms of 7 have passed');
  assert.is(remaining(epoll, slept(6)), ms(7), 'its end is the moment of the stop');
  assert.is(remaining(epoll, slept(6.5)), ms(7), 'it ended between the look and the stop');
  assert.is(remaining(epoll, slept(60)), ms(7), 'it would have ended long before');
  assertAbout(remaining(blocked(syscalls.poll, { rdx: 10000n }), slept(60000)), 10n * second);
});

test('waits without an end, and absolute ones', () => {
  const slept = { sleptNs: second, sleepsIn: 'do_sys_poll' };
  assert.is(remaining(blocked(syscalls.poll, { rdx: 0xffffffffn }), slept), null);
  const futex = { sleptNs: second, sleepsIn: 'futex_wait' };
  assert.is(remaining(blocked(syscalls.futex, { rsi: 0x80n, r10: 0n }), futex), null);
  const bitset = 9n | 0x80n | 0x100n;
  assert.is(remaining(blocked(syscalls.futex, { rsi: bitset, r10: 0x1000n }), futex), null);
});

test('a sleep that was asked to write its remainder tells it itself', () => {
  const slept = { sleptNs: 3n * second, sleepsIn: 'hrtimer_nanosleep' };
  const read = timespecAt(0x2000n, 123n);
  assert.is(remaining(blocked(syscalls.nanosleep, { rdi: 0x1000n, rsi: 0x2000n }), slept, read), 123n);
  assert.is(remaining(blocked(syscalls.clockNanosleep, { rdx: 0x1000n, r10: 0x2000n }), slept, read), 123n);
});

test('a thread that was not seen asleep waits as long as it asked for', () => {
  assertAbout(remaining(blocked(syscalls.poll, { rdx: 5000n }), undefined), 5n * second);
});

test('calls that answer EINTR to a stop: what was asked for less what was slept', () => {
  const slept = { sleptNs: 3n * second, sleepsIn: 'do_epoll_wait' };
  const read = timespecAt(0x1000n, 10n * second);
  const ended = (number: number, values: Parameters<typeof inCall>[2]) => inCall(number, -4n, values);
  for (const number of [syscalls.epollWait, syscalls.epollPwait]) {
    assert.is(remaining(ended(number, { r10: 10000n }), slept), 7n * second);
    assert.is(remaining(ended(number, { r10: 0xffffffffn }), slept), null, 'for ever');
  }
  assert.is(remaining(ended(syscalls.rtSigtimedwait, { rdx: 0x1000n }), slept, read), 7n * second);
  assert.is(remaining(ended(syscalls.rtSigtimedwait, {}), slept), null);
  assert.is(remaining(ended(syscalls.semtimedop, { r10: 0x1000n }), slept, read), 7n * second);
  assert.is(remaining(ended(syscalls.epollPwait2, { r10: 0x1000n }), slept, read), 7n * second);
  assert.is(remaining(ended(syscalls.ioGetevents, { r8: 0x1000n }), slept, read), 7n * second);
  assert.is(remaining(inCall(syscalls.epollWait, 1n, { r10: 10000n }), slept), null, 'it is over');
});

test('where the kernel has written what remains, that is taken', () => {
  const slept = { sleptNs: 3n * second, sleepsIn: 'poll_schedule_timeout' };
  const read = timespecAt(0x1000n, 10n * second);
  for (const [number, register] of [
    [syscalls.ppoll, 'rdx'],
    [syscalls.pselect6, 'r8'],
  ] as const) {
    assert.is(remaining(inCall(number, -514n, { [register]: 0x1000n }), slept, read), 10n * second);
    const readOnly = inCall(number, -4n, { [register]: 0x1000n });
    assert.is(remaining(readOnly, slept, read), 7n * second, 'it could not write');
  }
  const timeval = () => writtenTimeout('timeval', 10n * second + 1n);
  assert.is(remaining(inCall(syscalls.select, -514n, { r8: 0x1000n }), slept, timeval), 10n * second + 1000n);
});

test('the time of a processor clock does not pass in a sleep', () => {
  const slept = { sleptNs: 3n * second, sleepsIn: 'do_cpu_nanosleep' };
  const read = timespecAt(0x1000n, 10n * second);
  for (const clock of [2n, -6n]) {
    const values = { rdi: clock, rdx: 0x1000n };
    assert.is(remaining(blocked(syscalls.clockNanosleep, values), slept, read), 10n * second);
  }
  const absolute = { rdi: 2n, rsi: 1n, rdx: 0x1000n };
  assert.is(remaining(blocked(syscalls.clockNanosleep, absolute), slept, read), null);
});

test('a restarted wait keeps the deadline it had', () => {
  const clock = new WaitClock();
  const values = { rdi: 1n, rsi: 1n, rdx: 100000n, rip: 0x5000n, rsp: 0x6000n };
  const first = remainingIn(
    clock,
    tid,
    blocked(syscalls.poll, values),
    { sleptNs: 40n * second, sleepsIn: 'do_sys_poll' },
    noTimespec,
  );
  assertAbout(first, 60n * second);
  const restarted = blocked(syscalls.restartSyscall, values);
  const again = { sleptNs: 0n, sleepsIn: 'do_sys_poll' };
  const second_ = remainingIn(clock, tid, restarted, again, noTimespec);
  assert.ok(
    second_! < first! && second_! > first! - second,
    'the sleep since the restart does not start it over',
  );

  const elsewhere = blocked(syscalls.restartSyscall, { ...values, rsp: 0x7000n });
  assertAbout(remainingIn(clock, tid, elsewhere, again, noTimespec), 100n * second);
  assertAbout(remainingIn(clock, tid + 1, restarted, again, noTimespec), 100n * second);
});

test('a thread that did something else meanwhile has lost its old deadline', () => {
  const clock = new WaitClock();
  const values = { rdx: 100000n };
  const slept = { sleptNs: 90n * second, sleepsIn: 'do_sys_poll' };
  assertAbout(remainingIn(clock, tid, blocked(syscalls.poll, values), slept, noTimespec), 10n * second);
  assert.is(remainingIn(clock, tid, registers({}), undefined, noTimespec), null);
  const fresh = { sleptNs: 0n, sleepsIn: 'do_sys_poll' };
  assertAbout(
    remainingIn(clock, tid, blocked(syscalls.restartSyscall, values), fresh, noTimespec),
    100n * second,
  );
});

test('the call behind restart_syscall is told from where the thread slept', () => {
  const named = (sleepsIn: string, rdi = 0n) =>
    new WaitClock().callOf(tid, blocked(syscalls.restartSyscall, { rdi }), sleepsIn);
  assert.is(named('do_sys_poll'), syscalls.poll);
  assert.is(named('futex_wait'), syscalls.futex);
  assert.is(named('hrtimer_nanosleep', 1n), syscalls.clockNanosleep);
  assert.is(named('hrtimer_nanosleep', -6n), syscalls.clockNanosleep, 'a process clock is a negative number');
  assert.is(named('hrtimer_nanosleep', 0x7ffc00001000n), syscalls.nanosleep);
  assert.is(new WaitClock().callOf(tid, blocked(syscalls.nanosleep), 'do_sys_poll'), syscalls.nanosleep);
  assert.is(new WaitClock().callOf(tid, registers({}), 'do_sys_poll'), null, 'in no call');
});

test('the call behind restart_syscall is known from an earlier stop, whatever it looks like', () => {
  const values = { rdi: 0x1000n, rsi: 1n, rdx: 7n, rip: 0x5000n, rsp: 0x6000n };
  const restarted = blocked(syscalls.restartSyscall, values);
  const clock = new WaitClock();
  assert.is(clock.callOf(tid, restarted, ''), syscalls.nanosleep, 'it can only be guessed');
  remainingIn(clock, tid, blocked(syscalls.poll, values), undefined);
  assert.is(clock.callOf(tid, restarted, ''), syscalls.poll);
  assertAbout(remainingIn(clock, tid, restarted, undefined), 7000000n);
  const other = blocked(syscalls.restartSyscall, { ...values, rsp: 0x7000n });
  assert.is(clock.callOf(tid, other, ''), syscalls.nanosleep);
});

test('what is no address is not read as one', () => {
  const restarted = blocked(syscalls.restartSyscall, { rdx: 7n });
  assert.is(new WaitClock().callOf(tid, restarted, ''), syscalls.poll);
  assertAbout(remaining(restarted, undefined), 7000000n);
});

test('a thread that was about to call restart_syscall stands where it was interrupted', () => {
  const values = { rdx: 7n, rip: 0x5000n, rsp: 0x6000n };
  const clock = new WaitClock();
  const interrupted = blocked(syscalls.poll, values);
  const about = registers({ ...values, rip: 0x4ffen, rax: 219n, originalRax: 7n });
  assert.is(
    clock.standing(tid, about),
    about,
    'of a thread that never waited, 219 is a number like any other',
  );
  remainingIn(clock, tid, interrupted, undefined);
  assert.equal(clock.standing(tid, about), blocked(syscalls.restartSyscall, values));
  assert.is(clock.standing(tid, interrupted), interrupted);
  const elsewhere = registers({ ...values, rip: 0x5000n, rax: 219n, originalRax: 0n });
  assert.is(clock.standing(tid, elsewhere), elsewhere, 'it has read 219 bytes');
  assertAbout(remainingIn(clock, tid, clock.standing(tid, about), undefined), 7000000n);
});

test.run();
