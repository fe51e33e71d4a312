/** Settings of the whole machine that a test needs for a while. All are scopes that put back what was there. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files set to other values. */
export class Settings implements Disposable {
  readonly #before = new Map<string, string>();

  /** Throws where one of them cannot be written. */
  constructor(values: Readonly<Record<string, string>>) {
    try {
      for (const [file, value] of Object.entries(values)) {
        const before = readFileSync(file, 'utf8').trim();
        writeFileSync(file, value);
        this.#before.set(file, before);
      }
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const [file, value] of [...this.#before].reverse()) writeFileSync(file, value);
  }
}

/** Room to swap to: a file. */
export class SwapFile implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'godwit-swap-'));
  readonly #file = join(this.#folder, 'swap');

  /** Throws where this machine may not have one. */
  constructor(megabytes: number) {
    try {
      // Without holes: swapon(2) refuses them.
      writeFileSync(this.#file, Buffer.alloc(megabytes << 20), { mode: 0o600 });
      execFileSync('/sbin/mkswap', [this.#file], { stdio: 'pipe' });
      execFileSync('/sbin/swapon', [this.#file], { stdio: 'pipe' });
    } catch (error) {
      rmSync(this.#folder, { recursive: true });
      throw error;
    }
  }

  [Symbol.dispose](): void {
    execFileSync('/sbin/swapoff', [this.#file]);
    rmSync(this.#folder, { recursive: true });
  }
}

/** A control group (v1) whose tasks read slowly from the disk that holds the temporary files. */
export class SlowDisk implements Disposable {
  readonly #group = `/sys/fs/cgroup/blkio/godwit-test-${process.pid}`;

  /** Throws where this machine has no such thing. */
  constructor(bytesPerSecond: number) {
    const { dev } = statSync(tmpdir(), { bigint: true });
    // The numbers of a device as stat(2) packs them: makedev(3).
    const [major, minor] = [(dev >> 8n) & 0xfffn, (dev & 0xffn) | ((dev >> 12n) & 0xfff00n)];
    mkdirSync(this.#group);
    try {
      writeFileSync(`${this.#group}/blkio.throttle.read_bps_device`, `${major}:${minor} ${bytesPerSecond}`);
    } catch (error) {
      rmdirSync(this.#group);
      throw error;
    }
  }

  /** A command that starts another one in the group. */
  get through(): string[] {
    return ['sh', '-c', `echo $$ > ${this.#group}/tasks; exec "$@"`, 'sh'];
  }

  [Symbol.dispose](): void {
    rmdirSync(this.#group);
  }
}
