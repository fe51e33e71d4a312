/** A folder for images on a tmpfs, so that no disk is measured. */
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

const place = '/dev/shm';
/** TMPFS_MAGIC, linux/magic.h. */
export const tmpfsMagic = 0x01021994;

export class TmpfsFolder implements Disposable {
  readonly path: string;

  /** Throws Error where there is no tmpfs at /dev/shm. */
  constructor() {
    if (statfsSync(place).type !== tmpfsMagic) throw new Error(`the comparison needs a tmpfs at ${place}`);
    this.path = mkdtempSync(join(place, 'godwit-criu-'));
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
