/**
 * How an interrupted system call goes on: pure policy, for the source that runs on and for the target alike.
 *
 * A stopped thread shows in rax how its call was interrupted (include/linux/errno.h). With the registers left as
 * they are the kernel does the rest by itself, signals included, on the target as at home; these need help:
 *  - calls that answer EINTR to being stopped at all: they are marked as restartable;
 *  - relative time limits, where the kernel would begin them again (see timeouts.ts and source-agent/frozen-wait.ts);
 *  - ERESTART_RESTARTBLOCK: the deadline lies in the kernel at home, so the target must be told what remains;
 *  - a temporary signal mask that blocks what is pending and the thread's own mask does not;
 *  - a return through rt_sigreturn(2), which forgets the call: the instruction is repeated.
 */

import {
  asCalledAgain,
  currentSyscall,
  get,
  getSigned,
  type Register,
  type Registers,
  withRegisters,
} from './x86-64/registers.js';
import { socketWaits, syscalls } from './x86-64/syscalls.js';

const EINTR = -4n;
const ERESTARTSYS = -512n;
const ERESTARTNOINTR = -513n;
const ERESTARTNOHAND = -514n;
const ERESTART_RESTARTBLOCK = -516n;

/**
 * Answer EINTR when the thread is stopped, whether or not a signal is handled (measured; signal(7) has most of them).
 * Reading and writing: a socket with a time-out. ppoll and its like: a time-out in memory that cannot be written
 * (poll_select_finish in fs/select.c).
 */
const stoppedMeansEintr: ReadonlySet<number> = new Set([
  syscalls.epollWait,
  syscalls.epollPwait,
  syscalls.epollPwait2,
  syscalls.select,
  syscalls.pselect6,
  syscalls.ppoll,
  syscalls.rtSigtimedwait,
  syscalls.semop,
  syscalls.semtimedop,
  syscalls.ioGetevents,
  syscalls.ioPgetevents,
  syscalls.ioUringEnter,
  syscalls.read,
  syscalls.write,
  syscalls.readv,
  syscalls.writev,
  syscalls.sendfile,
  syscalls.splice,
  ...socketWaits,
]);

/** When they are interrupted the kernel writes what remains to where the program's time-out is. */
const updatesTimeout: ReadonlySet<number> = new Set([syscalls.select, syscalls.pselect6, syscalls.ppoll]);

/** Where calls that set a signal mask for as long as they wait have it; null where they always do, or look further. */
const temporaryMasks: ReadonlyMap<number, Register | null> = new Map([
  [syscalls.ppoll, 'r10'],
  [syscalls.epollPwait, 'r8'],
  [syscalls.epollPwait2, 'r8'],
  [syscalls.pselect6, null],
  [syscalls.rtSigsuspend, null],
  [syscalls.ioPgetevents, null],
  [syscalls.ioUringEnter, null],
]);

/** True when the thread may wait with another signal mask than its own. */
export function mayHaveTemporaryMask(registers: Registers): boolean {
  const pointer = temporaryMasks.get(currentSyscall(registers) ?? -1);
  return pointer !== undefined && (pointer === null || get(registers, pointer) !== 0n);
}

/** True when the call was interrupted in a way that a restart block holds. */
export function inRestartBlock(registers: Registers): boolean {
  return currentSyscall(registers) !== null && getSigned(registers, 'rax') === ERESTART_RESTARTBLOCK;
}

/** True when the thread waits in a call that the kernel would restart, or that we must. */
export function isInterrupted(registers: Registers): boolean {
  if (currentSyscall(registers) === null) return false;
  const rax = getSigned(registers, 'rax');
  return (
    rax === ERESTARTSYS ||
    rax === ERESTARTNOINTR ||
    rax === ERESTARTNOHAND ||
    rax === ERESTART_RESTARTBLOCK ||
    needsMark(registers)
  );
}

function needsMark(registers: Registers): boolean {
  const number = currentSyscall(registers);
  return number !== null && getSigned(registers, 'rax') === EINTR && stoppedMeansEintr.has(number);
}

/** Who knows when an interrupted wait is to end: the kernel, the program's own memory, or nobody. */
export function deadlineHolder(asStopped: Registers): 'kernel' | 'program' | 'nobody' {
  if (inRestartBlock(asStopped)) return 'kernel';
  const updated =
    updatesTimeout.has(currentSyscall(asStopped) ?? -1) && getSigned(asStopped, 'rax') === ERESTARTNOHAND;
  return updated ? 'program' : 'nobody';
}

/**
 * The registers with which a stopped thread goes on, at home and on the target. Also where a signal is pending: when
 * its handler runs the kernel itself makes EINTR of the mark (handle_signal in arch/x86/kernel/signal.c), for the one
 * thread that takes the signal.
 */
export function asRestartable(asStopped: Registers): Registers {
  return needsMark(asStopped) ? withRegisters(asStopped, { rax: ERESTARTNOHAND }) : asStopped;
}

/**
 * The registers with which it goes on where its temporary mask (that of ppoll, for example) is lost, and blocks a
 * pending signal that the thread's own mask lets through: the handler runs before the call, which is made again, as
 * the kernel does by itself when it takes a temporary mask back to restart a call.
 */
export function handlingFirst(registers: Registers): Registers {
  return isInterrupted(registers) ? asCalledAgain(registers) : registers;
}

/**
 * The registers with which it goes on after rt_sigreturn: an interrupted call is made again. `deliverable`: a signal
 * it does not block is pending; its handler runs before that, so a call which ends by handlers has ended.
 */
export function afterSignalReturn(registers: Registers, deliverable: boolean): Registers {
  if (!isInterrupted(registers)) return registers;
  const rax = getSigned(registers, 'rax');
  const endsByHandler = rax !== ERESTARTSYS && rax !== ERESTARTNOINTR;
  if (deliverable && endsByHandler) return withRegisters(registers, { rax: EINTR, originalRax: -1n });
  return asCalledAgain(registers);
}
