import { closeSync, constants, openSync } from 'node:fs';
import { MigrationError } from '../../shared/errors.js';
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Restore, Restoring } from './kind.js';

export const restoreDirectories: Restore = {
  settle: place,
  finish(restoring, changed) {
    if (changed.has('directories')) place(restoring);
  },
};

function place({ skeleton, state: { directories } }: Restoring): void {
  const { root, workingDirectory, umask } = directories;
  const opened: number[] = [];
  try {
    if (root !== '/') opened.push(openDirectory(root));
    opened.push(openDirectory(workingDirectory));
    const brought = skeleton.bring(opened);
    const batch = new CallBatch();
    if (root !== '/') {
      batch.add('fchdir', syscalls.fchdir, brought[0]!);
      batch.add('chroot', syscalls.chroot, skeleton.put(Buffer.from('.\0')));
    }
    batch.add('fchdir', syscalls.fchdir, brought.at(-1)!);
    batch.add('umask', syscalls.umask, umask);
    for (const fd of brought) batch.add('close', syscalls.close, fd);
    skeleton.run(batch);
    batch.check();
  } finally {
    for (const fd of opened) closeSync(fd);
  }
}

function openDirectory(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (cause) {
    throw new MigrationError(
      'file-missing',
      `${path} is no directory on the target`,
      { object: path },
      { cause },
    );
  }
}
