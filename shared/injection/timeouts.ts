/** Where the system calls that wait are told how long, counted from their beginning: pure. */
import { currentSyscall, get, type Register, type Registers } from './x86-64/registers.js';
import { syscalls } from './x86-64/syscalls.js';

/** As a number of milliseconds in the register itself, or behind a pointer in it. */
export type TimeoutForm = 'milliseconds' | 'timespec' | 'timeval';

export interface TimeoutPlace {
  register: Register;
  form: TimeoutForm;
}

/** struct timespec, struct timeval: two words. */
export const timeoutBytes = 16;
const timerAbsolute = 1n; // TIMER_ABSTIME
const futexCommands = 0x7fn;
const futexWait = 0n;

const places: ReadonlyMap<number, TimeoutPlace> = new Map([
  [syscalls.nanosleep, { register: 'rdi', form: 'timespec' }],
  [syscalls.clockNanosleep, { register: 'rdx', form: 'timespec' }],
  [syscalls.futex, { register: 'r10', form: 'timespec' }],
  [syscalls.poll, { register: 'rdx', form: 'milliseconds' }],
  [syscalls.ppoll, { register: 'rdx', form: 'timespec' }],
  [syscalls.select, { register: 'r8', form: 'timeval' }],
  [syscalls.pselect6, { register: 'r8', form: 'timespec' }],
  [syscalls.epollWait, { register: 'r10', form: 'milliseconds' }],
  [syscalls.epollPwait, { register: 'r10', form: 'milliseconds' }],
  [syscalls.epollPwait2, { register: 'r10', form: 'timespec' }],
  [syscalls.rtSigtimedwait, { register: 'rdx', form: 'timespec' }],
  [syscalls.semtimedop, { register: 'r10', form: 'timespec' }],
  [syscalls.ioGetevents, { register: 'r8', form: 'timespec' }],
  [syscalls.ioPgetevents, { register: 'r8', form: 'timespec' }],
]);

/**
 * The place of the relative time limit of the call a thread is in; null where it waits for ever, until a point in
 * time, or for as long as a socket says. `number`: the call, where the registers only say restart_syscall.
 */
export function timeoutPlace(registers: Registers, number = currentSyscall(registers)): TimeoutPlace | null {
  const place = number === null ? undefined : places.get(number);
  if (!place || isAbsolute(registers, number!)) return null;
  const value = get(registers, place.register);
  const forEver = place.form === 'milliseconds' ? milliseconds(value) < 0n : value === 0n;
  return forEver ? null : place;
}

// FUTEX_WAIT counts from now; FUTEX_WAIT_BITSET and the other commands that wait name a point in time.
function isAbsolute(registers: Registers, number: number): boolean {
  const second = get(registers, 'rsi');
  if (number === syscalls.clockNanosleep) return (second & timerAbsolute) !== 0n;
  return number === syscalls.futex && (second & futexCommands) !== futexWait;
}

/** Reads memory of the process. */
export type ReadMemory = (address: bigint, bytes: number) => Buffer;

/** What the place says, in nanoseconds. */
export function readTimeout(
  registers: Registers,
  { register, form }: TimeoutPlace,
  read: ReadMemory,
): bigint {
  const value = get(registers, register);
  if (form === 'milliseconds') return milliseconds(value) * 1000000n;
  const bytes = read(value, timeoutBytes);
  return bytes.readBigInt64LE(0) * 1000000000n + bytes.readBigInt64LE(8) * (form === 'timeval' ? 1000n : 1n);
}

/** The same time as the bytes behind a pointer: never less than asked for. */
export function writtenTimeout(form: Exclude<TimeoutForm, 'milliseconds'>, ns: bigint): Buffer {
  const unit = form === 'timeval' ? 1000n : 1n;
  const rounded = roundedUp(ns, unit) * unit;
  const bytes = Buffer.alloc(timeoutBytes);
  bytes.writeBigInt64LE(rounded / 1000000000n, 0);
  bytes.writeBigInt64LE((rounded % 1000000000n) / unit, 8);
  return bytes;
}

/** The same time as a number in a register: never less than asked for. */
export function wholeMilliseconds(ns: bigint): bigint {
  return roundedUp(ns, 1000000n);
}

function roundedUp(ns: bigint, unit: bigint): bigint {
  return (ns + unit - 1n) / unit;
}

/** An int: the upper half of the register does not count. */
function milliseconds(value: bigint): bigint {
  return BigInt.asIntN(32, value);
}
