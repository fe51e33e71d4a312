import { readlinkSync, statSync } from 'node:fs';
import type { Blocker } from '../../shared/errors.js';
import { noSuchProcess } from '../source-process.js';
import type { Capture } from './kind.js';

export const captureDirectories: Capture<'directories'> = {
  detect({ process: { pid } }) {
    const blockers: Blocker[] = [];
    for (const [link, what] of [
      ['cwd', 'working directory'],
      ['root', 'root directory'],
    ] as const) {
      const path = linkOf(pid, link);
      if (isSameDirectory(`/proc/${pid}/${link}`, path)) continue;
      blockers.push({
        code: 'file-deleted',
        what: `its ${what} ${path} has no name any more`,
        pid,
        object: path,
      });
    }
    return blockers;
  },
  capture({ frozen: { process }, view }) {
    return () => ({
      workingDirectory: linkOf(process.pid, 'cwd'),
      root: linkOf(process.pid, 'root'),
      umask: view.leader.status.umask ?? 0o022,
    });
  },
};

function linkOf(pid: number, link: 'cwd' | 'root'): string {
  try {
    return readlinkSync(`/proc/${pid}/${link}`);
  } catch (cause) {
    throw noSuchProcess(pid, cause);
  }
}

function isSameDirectory(link: string, path: string): boolean {
  const there = statSync(path, { bigint: true, throwIfNoEntry: false });
  const here = statSync(link, { bigint: true, throwIfNoEntry: false });
  return there !== undefined && here !== undefined && there.dev === here.dev && there.ino === here.ino;
}
