/**
 * How an interrupted system call goes on: pure policy, for the source that runs on and for the target alike.
 *
 * A stopped thread shows in rax how its call was interrupted (include/linux/errno.h). With the registers left as
 * they are the kernel does the rest by itself, signals included, on the target as at home; three things need help:
 *  - calls that answer EINTR to being stopped at all: they are marked as restartable;
 *  - ERESTART_RESTARTBLOCK: the deadline lies in the kernel at home, so the target must be told what remains;
 *  - a return through rt_sigreturn(2), which forgets the call: the instruction is repeated.
 */

import {
  asCalledAgain,
  currentSyscall,
  get,
  getSigned,
  type Registers,
  withRegisters,
} from './x86-64/registers.js';
import { socketWaits, syscalls } from './x86-64/syscalls.js';

const EINTR = -4n;
const ERESTARTSYS = -512n;
const ERESTARTNOINTR = -513n;
const ERESTARTNOHAND = -514n;
const ERESTART_RESTARTBLOCK = -516n;

/** Answer EINTR when the thread is stopped, whether or not a signal is handled (kernel-measured). */
const stoppedMeansEintr: ReadonlySet<number> = new Set([
  syscalls.epollWait,
  syscalls.epollPwait,
  syscalls.epollPwait2,
  syscalls.rtSigtimedwait,
  syscalls.semop,
  syscalls.semtimedop,
  syscalls.ioGetevents,
  syscalls.ioPgetevents,
  ...socketWaits,
]);

/** epoll_wait and epoll_pwait take their time-out in milliseconds by value, so what remains can be put there. */
const timeoutByValue: ReadonlySet<number> = new Set([syscalls.epollWait, syscalls.epollPwait]);

/** True when the call was interrupted in a way that a restart block holds. */
export function inRestartBlock(registers: Registers): boolean {
  return currentSyscall(registers) !== null && getSigned(registers, 'rax') === ERESTART_RESTARTBLOCK;
}

/** True when the thread waits in a call that the kernel would restart, or that we must. */
export function isInterrupted(registers: Registers, deliverable: boolean): boolean {
  if (currentSyscall(registers) === null) return false;
  const rax = getSigned(registers, 'rax');
  return (
    rax === ERESTARTSYS ||
    rax === ERESTARTNOINTR ||
    rax === ERESTARTNOHAND ||
    rax === ERESTART_RESTARTBLOCK ||
    needsMark(registers, deliverable)
  );
}

function needsMark(registers: Registers, deliverable: boolean): boolean {
  const number = currentSyscall(registers);
  return (
    number !== null && !deliverable && getSigned(registers, 'rax') === EINTR && stoppedMeansEintr.has(number)
  );
}

/** The time-out of a wait that has it in a register, in milliseconds; null where it has none there or waits forever. */
export function timeoutInRegister(registers: Registers): number | null {
  const number = currentSyscall(registers);
  if (number === null || !timeoutByValue.has(number)) return null;
  const timeout = Number(BigInt.asIntN(32, get(registers, 'r10')));
  return timeout > 0 ? timeout : null;
}

/**
 * The registers with which a stopped thread goes on, at home and on the target. `deliverable`: a signal it does not
 * block is pending. `sleptNs`: how long it has waited in this call so far, where that is known.
 */
export function asRestartable(registers: Registers, deliverable: boolean, sleptNs: bigint): Registers {
  if (!needsMark(registers, deliverable)) return registers;
  const marked = withRegisters(registers, { rax: ERESTARTNOHAND });
  const timeout = timeoutInRegister(registers);
  if (timeout === null) return marked;
  const remaining = Math.max(0, timeout - Number(sleptNs / 1000000n));
  return withRegisters(marked, { r10: BigInt(remaining) });
}

/** The registers with which it goes on after rt_sigreturn: an interrupted call is made again. */
export function afterSignalReturn(registers: Registers, deliverable: boolean): Registers {
  return isInterrupted(registers, deliverable) ? asCalledAgain(registers) : registers;
}
