import { closeSync } from 'node:fs';
import { native } from '../../native/index.js';
import type { PipesState } from '../../shared/state/pipes.js';
import { accessMode, isPipe } from '../descriptor-types.js';
import type { OpenDescriptor } from '../inspection.js';
import { leadsOut } from './files.js';
import type { Capture } from './kind.js';

const getPipeSize = 1032; // F_GETPIPE_SZ

export const capturePipes: Capture<'pipes'> = {
  capture({ frozen, descriptors, pipes }) {
    return () =>
      insidePipes(descriptors, (descriptor) => leadsOut(descriptor, pipes)).map((ends) => {
        const readEnd = ends.find((end) => accessMode(end) === 'read');
        const fd = native.pidfdGetfd(frozen.process.pidfd, (readEnd ?? ends[0]!).fd);
        try {
          return {
            capacity: native.fcntl(fd, getPipeSize, 0),
            // Without a reader nobody will ever see what is in it.
            content: readEnd ? native.peekPipe(fd) : new Uint8Array(0),
          } satisfies PipesState[number];
        } finally {
          closeSync(fd);
        }
      });
  },
};

/** The pipes inside the process, each as its descriptors, in the order of their first descriptor. */
export function insidePipes(
  descriptors: readonly OpenDescriptor[],
  isOutside: (descriptor: OpenDescriptor) => boolean,
): OpenDescriptor[][] {
  const byInode = new Map<bigint, OpenDescriptor[]>();
  for (const descriptor of descriptors) {
    if (!isPipe(descriptor) || isOutside(descriptor)) continue;
    byInode.set(descriptor.inode, [...(byInode.get(descriptor.inode) ?? []), descriptor]);
  }
  return [...byInode.values()];
}
