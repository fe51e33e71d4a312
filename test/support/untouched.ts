/** What /proc shows of a process that an agent must leave as it found it. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { scaled } from './time.js';

/** Fields of /proc/PID/task/TID/status that a program sees of itself, or that an agent may leave behind. */
const fields =
  /^(Name|Umask|TracerPid|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cpus_allowed|NoNewPrivs|Seccomp):.*/gm;

/** One line for each descriptor, mapping and thread: two looks differ in the lines that differ. */
export function lookAt(pid: number): string[] {
  const lines: string[] = [];
  for (const fd of readdirSync(`/proc/${pid}/fd`))
    lines.push(`descriptor ${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`);
  for (const tid of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
    const stopped = /^State:\s*[tT]/m.test(status) ? ' stopped' : '';
    const shown = withoutDelivered(status).match(fields)!.join(' ').replace(/\s+/g, ' ');
    lines.push(`thread ${tid}${stopped} ${shown}`);
  }
  const cgroups = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trimEnd().split('\n');
  return [...lines, ...cgroups.map((line) => `cgroup ${line}`), ...mappings(pid)];
}

/** A signal that is pending and not blocked is just being delivered: the next look would not show it. */
function withoutDelivered(status: string): string {
  const blocked = BigInt(`0x${/^SigBlk:\t([0-9a-f]+)$/m.exec(status)![1]}`);
  return status.replaceAll(/^(SigPnd|ShdPnd):\t([0-9a-f]+)$/gm, (_, name: string, set: string) => {
    return `${name}:\t${(BigInt(`0x${set}`) & blocked).toString(16).padStart(16, '0')}`;
  });
}

function mappings(pid: number): string[] {
  const lines: string[] = [];
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    // The stack of the main thread grows when it likes.
    if (/^[0-9a-f]+-/.test(line))
      lines.push(`mapping ${line.replace(/^[0-9a-f]+(-.*\[stack\])$/, '...$1').replace(/\s+/g, ' ')}`);
    if (line.startsWith('VmFlags:')) lines[lines.length - 1] += ` ${line.slice(8).trim()}`;
  }
  return lines;
}

/** Lines that only one of two looks has: '- ' was before, '+ ' is now. */
export function differences(before: readonly string[], now: readonly string[]): string[] {
  const [old, fresh] = [new Set(before), new Set(now)];
  return [
    ...before.filter((line) => !fresh.has(line)).map((line) => `- ${line}`),
    ...now.filter((line) => !old.has(line)).map((line) => `+ ${line}`),
  ];
}

/**
 * Waits until the process looks as it did: what an agent left in it is removed by its own threads, in their time.
 * Returns the differences that remain.
 */
export async function untouched(
  pid: number,
  before: readonly string[],
  patienceMs = 10_000,
): Promise<string[]> {
  const deadline = performance.now() + scaled(patienceMs);
  for (;;) {
    const found = differences(before, tryLookAt(pid));
    if (found.length === 0 || performance.now() > deadline) return found;
    await sleep(5);
  }
}

function tryLookAt(pid: number): string[] {
  try {
    return lookAt(pid);
  } catch {
    return ['gone, or changing while it was looked at'];
  }
}
