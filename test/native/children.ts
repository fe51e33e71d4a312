/** Children of the test's own process, started by the addon, and what /proc tells of them. */

import { existsSync, readFileSync } from 'node:fs';
import { type ChildStatus, native, type SpawnOptions, skeletonProgram } from '../../native/index.js';
import { KernelError } from '../../shared/errors.js';

export const SIGKILL = 9;

/** Spawned and not known to be collected. */
const alive = new Set<number>();

/** A skeleton, unless told otherwise. */
export function spawn(options: Partial<SpawnOptions> = {}): number {
  const pid = native.spawn({
    program: skeletonProgram,
    pids: [],
    descriptors: [],
    newSession: false,
    ...options,
  });
  alive.add(pid);
  return pid;
}

/** To be told of a child that was collected by other means than `ended`. */
export function collected(pid: number): void {
  alive.delete(pid);
}

export function ended(pid: number): Promise<ChildStatus> {
  return new Promise((resolve) => {
    native.onChildExit(pid, (status) => {
      collected(pid);
      resolve(status);
    });
  });
}

export function end(pid: number): Promise<ChildStatus> {
  native.kill(pid, SIGKILL);
  return ended(pid);
}

/** After each test: ends what it has left. */
export async function endAll(): Promise<void> {
  for (const pid of alive) await end(pid);
}

export function zombies(): number[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1')
    .split(' ')
    .filter(Boolean);
  return children.map(Number).filter((pid) => statFields(pid)[0] === 'Z');
}

export function freePid(): number {
  let pid = Number(readFileSync('/proc/sys/kernel/pid_max', 'latin1')) - 100;
  while (existsSync(`/proc/${pid}`)) pid -= 1;
  return pid;
}

export function statusField(pid: number, name: string): string {
  const line = readFileSync(`/proc/${pid}/status`, 'latin1').match(new RegExp(`^${name}:\\s*(.*)$`, 'm'));
  return line![1]!;
}

/** Fields of /proc/PID/stat after the name: [0] is the state, field 3 of proc(5). */
export function statFields(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** The error of the addon that `action` throws. */
export function errorOf(action: () => unknown): KernelError {
  try {
    action();
  } catch (error) {
    if (error instanceof KernelError) return error;
    throw error;
  }
  throw new Error('no error');
}
