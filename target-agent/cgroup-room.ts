/** What the cgroups of this agent leave to it: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, v1 memory.rst. */
import { readFileSync } from 'node:fs';
import path from 'node:path';

export interface GroupRoom {
  /** Infinity where nothing limits it. */
  memoryBytes: number;
  tasks: number;
}

const root = '/sys/fs/cgroup';

/** The least of all groups from its own up to the root: each of them limits. */
export function groupRoom(
  membership = readFileSync('/proc/self/cgroup', 'utf8'),
  read = readText,
): GroupRoom {
  const room = { memoryBytes: Infinity, tasks: Infinity };
  for (const line of membership.trim().split('\n')) {
    const [, controllers = '', group = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const names = controllers.split(',');
    const unified = controllers === '';
    for (const folder of upwards(group)) {
      if (unified || names.includes('memory')) {
        const at = path.join(root, unified ? '' : 'memory', folder);
        room.memoryBytes = Math.min(room.memoryBytes, memoryIn(at, unified, read));
      }
      if (unified || names.includes('pids')) {
        const at = path.join(root, unified ? '' : 'pids', folder);
        room.tasks = Math.min(
          room.tasks,
          left(read(path.join(at, 'pids.max')), read(path.join(at, 'pids.current'))),
        );
      }
    }
  }
  return room;
}

function upwards(group: string): string[] {
  const folders = [group];
  while (folders.at(-1) !== '/' && folders.at(-1) !== '.') folders.push(path.dirname(folders.at(-1)!));
  return folders;
}

/** Page cache counts as used, and is given up when memory is needed. */
function memoryIn(folder: string, unified: boolean, read: Read): number {
  const [limit, usage] = unified
    ? ['memory.max', 'memory.current']
    : ['memory.limit_in_bytes', 'memory.usage_in_bytes'];
  const prefix = unified ? '' : 'total_';
  const statistics = read(path.join(folder, 'memory.stat')) ?? '';
  const cache = ['inactive_file', 'active_file'].map((name) =>
    Number(new RegExp(`^${prefix}${name} (\\d+)$`, 'm').exec(statistics)?.[1] ?? 0),
  );
  return left(read(path.join(folder, limit)), read(path.join(folder, usage))) + cache[0]! + cache[1]!;
}

function left(most: string | null, used: string | null): number {
  if (most === null || used === null || !/^\d+$/.test(most.trim())) return Infinity;
  return Math.max(0, Number(most) - Number(used));
}

type Read = (file: string) => string | null;

function readText(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return null; // not mounted, or the root, which has no limits
  }
}
