/** CPU time of the processes of a target host, from outside: user and system time of all their threads. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** USER_HZ, the unit of times in /proc/PID/stat, is 100 on every Linux for x86-64 (man 5 proc_pid_stat). */
const ticksPerSecond = 100;
const [userTime, systemTime] = [14, 15];

/** Seconds by pid of all processes in the pid namespace of process `member`, itself included. */
export function cpuSecondsBeside(member: number): Map<number, number> {
  const namespace = readlinkSync(`/proc/${member}/ns/pid`);
  const seconds = new Map<number, number>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      if (readlinkSync(`/proc/${name}/ns/pid`) !== namespace) continue;
      seconds.set(Number(name), cpuSecondsOf(readFileSync(`/proc/${name}/stat`, 'utf8')));
    } catch {
      // It ended while we looked.
    }
  }
  return seconds;
}

/** User and system time of one process from the text of its /proc/PID/stat. */
export function cpuSecondsOf(stat: string): number {
  // The name before the last parenthesis may hold blanks; the field behind it is the third.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = (field: number) => Number(fields[field - 3]);
  return (ticks(userTime) + ticks(systemTime)) / ticksPerSecond;
}
