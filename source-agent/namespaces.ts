/** Namespaces(7) of the process against those of the agent. */
import { readlinkSync } from 'node:fs';
import type { Blocker } from '../shared/errors.js';
import { noSuchProcess } from './source-process.js';

export type Namespace =
  | 'cgroup'
  | 'ipc'
  | 'mnt'
  | 'net'
  | 'pid'
  | 'pid_for_children'
  | 'time'
  | 'time_for_children'
  | 'user'
  | 'uts';

export function sharesNamespace(pid: number, namespace: Namespace): boolean {
  return link(pid, namespace) === link('self', namespace);
}

function link(pid: number | 'self', namespace: Namespace): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/${namespace}`);
  } catch (cause) {
    // A kernel without this kind of namespace has no file for it.
    if (pid === 'self') return '';
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && link('self', namespace) === '') return '';
    throw noSuchProcess(pid, cause);
  }
}

/** Namespaces that are not rebuilt: the process must live in those of the agent. A pid namespace may differ. */
const mustBeShared: readonly Namespace[] = [
  'cgroup',
  'ipc',
  'mnt',
  'net',
  'time',
  'time_for_children',
  'user',
];

export function detectNamespaces(pid: number): Blocker[] {
  const blockers: Blocker[] = mustBeShared
    .filter((namespace) => !sharesNamespace(pid, namespace))
    .map((namespace) => ({
      code: 'foreign-namespace',
      what: `process ${pid} lives in another ${namespace} namespace than this agent`,
      pid,
      object: `${namespace} namespace`,
    }));
  if (link(pid, 'pid') !== link(pid, 'pid_for_children')) {
    const what = `process ${pid} has chosen another pid namespace for its children`;
    blockers.push({ code: 'foreign-namespace', what, pid, object: 'pid_for_children namespace' });
  }
  return blockers;
}
