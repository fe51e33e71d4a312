/** Which process a journal is about: told from every other that bears its pid, also after a reboot. */
import { readFileSync } from 'node:fs';
import { native } from '../native/index.js';
import type { Identity } from '../shared/journal-format.js';
import { parseStat } from '../shared/proc/stat.js';
import { noSuchProcess } from './source-process.js';

export interface HostProcess {
  pid: number;
  /** /proc/PID/stat, field 22. */
  startTime: string;
  name: string;
}

const bootIdFile = '/proc/sys/kernel/random/boot_id';

export function bootId(): string {
  return readFileSync(bootIdFile, 'latin1').trim();
}

/** Null where there is none, or only its remains: a zombie. */
export function hostProcess(pid: number): (HostProcess & { state: string }) | null {
  const [text] = native.readFiles([`/proc/${pid}/stat`]);
  if (text === undefined || typeof text === 'number' || text.length === 0) return null;
  const { comm, state, startTime, threads } = parseStat(text.toString());
  if ((state === 'Z' && threads <= 1) || state === 'X') return null;
  return { pid, startTime: String(startTime), name: comm, state };
}

/** Throws MigrationError 'no-such-process'. */
export function identify(pid: number): Same & { name: string } {
  const found = hostProcess(pid);
  if (!found) throw noSuchProcess(pid);
  const { startTime, name } = found;
  return { pid, startTime, name: name.slice(0, 64), bootId: bootId() };
}

type Same = Pick<Identity, 'pid' | 'startTime' | 'bootId'>;

/** It is still there. */
export function isAlive({ pid, startTime, bootId: boot }: Same): boolean {
  return boot === bootId() && hostProcess(pid)?.startTime === startTime;
}

export function isSame(a: Same, b: Same): boolean {
  return a.pid === b.pid && a.startTime === b.startTime && a.bootId === b.bootId;
}
