/** The process a journal is about, as it is found later: a pid alone says little, so its start time is compared. */
import { readFileSync } from 'node:fs';
import { native } from '../native/index.js';
import type { TargetProcessState } from '../shared/commit/target-side.js';
import type { Identity } from '../shared/journal-format.js';
import { parseStat } from '../shared/proc/stat.js';
import { parseEnding } from './words.js';

const SIGKILL = 9;

export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** /proc/PID/stat, field 22, in clock ticks. */
export function startTimeOf(pid: number): string {
  return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1')).startTime.toString();
}

/** For a journal whose shepherd is gone. None is found held: a skeleton ends with its shepherd until it is let run. */
export function stateOf(identity: Identity, detail: string): TargetProcessState {
  if (parseEnding(detail)) return 'ended';
  return lives(identity) ? 'running' : 'none';
}

/** Ends it where it is still there. */
export function endKnown(identity: Identity): void {
  // Its pid cannot become another's between the look and the kill: nobody else collects it as fast as that.
  if (lives(identity)) native.kill(identity.pid, SIGKILL);
}

function lives({ pid, startTime, bootId: boot }: Identity): boolean {
  if (boot !== bootId()) return false;
  try {
    const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
    // The leader of a group whose other threads go on shows as a zombie too.
    return stat.startTime.toString() === startTime && !('ZX'.includes(stat.state) && stat.threads <= 1);
  } catch {
    return false; // it is gone
  }
}
