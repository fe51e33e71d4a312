/**
 * Who holds which pipe. A pipe can be moved when every descriptor of it is inside the process; to know that, the
 * descriptors of all other processes have to be read once.
 */
import { readdirSync, readlinkSync } from 'node:fs';

const pipeLink = /^pipe:\[(\d+)\]$/;

export class PipeCensus {
  readonly #outside = new Set<bigint>();
  readonly #seen = new Set<bigint>();

  constructor(readonly pid: number) {}

  /** True when a process other than the moved one holds a descriptor of this pipe. */
  isHeldOutside(inode: bigint): boolean {
    // A pipe that was not there the last time takes another count, which is of all that are there now.
    if (!this.#seen.has(inode)) this.#count();
    this.#seen.add(inode);
    return this.#outside.has(inode);
  }

  #count(): void {
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid)) continue;
      const found = pid === this.pid ? this.#seen : this.#outside;
      for (const fd of namesIn(`/proc/${pid}/fd`)) {
        const match = pipeLink.exec(linkOf(`/proc/${pid}/fd/${fd}`));
        if (match) found.add(BigInt(match[1]!));
      }
    }
  }
}

// Processes and descriptors come and go while we look.
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
