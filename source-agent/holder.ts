/**
 * What keeps the source stopped from the decision on, even when its agent dies: a stop signal that is pending while
 * the threads are still held by ptrace, and takes effect the moment nobody holds them.
 */
import { native } from '../native/index.js';

const SIGSTOP = 19;
const SIGCONT = 18;

export function hold(pid: number): void {
  native.kill(pid, SIGSTOP);
}

/** Takes the stop back; for a program whose threads are still held it leaves no trace but a SIGCONT it may handle. */
export function unhold(pid: number): void {
  native.kill(pid, SIGCONT);
}
