/**
 * A freezer cgroup of a migration's own, below the one that the process is in: what holds that one holds it as well, and
 * its place is where it goes back to. Frozen, it stays so whatever becomes of the agent, and no SIGCONT lets it run.
 *
 * v1 (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst): threads freeze where they are, also in a ptrace stop, and
 * SIGKILL waits for the thaw. v2 (cgroup-v2.rst, cgroup.freeze): a threaded cgroup takes no child like this.
 */
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { native } from '../native/index.js';
import { parseMountinfo } from '../shared/proc/mountinfo.js';

const removeTries = 20;
const removePauseMs = 5;

interface Version {
  /** The file that freezes, and what is written to it. */
  file: string;
  frozen: string;
  thawed: string;
}

const versions: Record<1 | 2, Version> = {
  1: { file: 'freezer.state', frozen: 'FROZEN', thawed: 'THAWED' },
  2: { file: 'cgroup.freeze', frozen: '1', thawed: '0' },
};

export class FreezerCgroup implements Disposable {
  readonly #file: number;
  readonly #text = Buffer.alloc(16);

  private constructor(
    readonly pid: number,
    readonly folder: string,
    private readonly version: Version,
  ) {
    this.#file = openSync(path.join(folder, version.file), constants.O_RDWR);
  }

  /**
   * Makes it and moves the process into it, all threads at once (cgroup.procs). Throws where this host has none that can
   * be used: no such mount here, the process outside of what we see of it, its threads in several.
   */
  static make(pid: number, name: string, allowed: readonly (1 | 2)[] = [1, 2]): FreezerCgroup {
    const failures: string[] = [];
    for (const version of allowed) {
      const home = homeOf(pid, version);
      if (home === null) continue;
      const folder = path.join(home, name);
      try {
        mkdirSync(folder);
        try {
          const made = new FreezerCgroup(pid, folder, versions[version]);
          try {
            writeFileSync(path.join(folder, 'cgroup.procs'), String(pid));
          } catch (error) {
            made[Symbol.dispose]();
            throw error;
          }
          return made;
        } catch (error) {
          rmdirSync(folder);
          throw error;
        }
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
    throw new Error(failures.join('; ') || 'there is no freezer cgroup on this host');
  }

  /** The one of that name which the process is in; null where it is in none. */
  static find(pid: number, name: string): FreezerCgroup | null {
    for (const version of [1, 2] as const) {
      const home = homeOf(pid, version);
      if (home !== null && path.basename(home) === name) {
        return new FreezerCgroup(pid, home, versions[version]);
      }
    }
    return null;
  }

  /** Removes those of others beside the process that are empty: what died with everybody who knew of it. */
  static sweep(pid: number, isLeft: (name: string) => boolean): void {
    for (const version of [1, 2] as const) {
      const home = homeOf(pid, version);
      if (home === null) continue;
      for (const entry of readdirSync(home, { withFileTypes: true })) {
        if (!entry.isDirectory() || !isLeft(entry.name)) continue;
        try {
          rmdirSync(path.join(home, entry.name));
        } catch {
          // Somebody is in it.
        }
      }
    }
  }

  /** One write. Throws where the kernel refuses it. */
  freeze(): void {
    writeSync(this.#file, this.version.frozen, 0);
  }

  /** On its way to be frozen counts: no thread comes back to its own code then. */
  get isFrozen(): boolean {
    const length = readSync(this.#file, this.#text, 0, this.#text.length, 0);
    return this.#text.toString('latin1', 0, length).trim() !== this.version.thawed;
  }

  thaw(): void {
    writeSync(this.#file, this.version.thawed, 0);
  }

  /** Back to where it came from; the cgroup goes. What has ended is in none. */
  async putBack(): Promise<void> {
    const home = path.dirname(this.folder);
    for (const pid of readFileSync(path.join(this.folder, 'cgroup.procs'), 'latin1').split('\n')) {
      if (pid === '') continue;
      try {
        writeFileSync(path.join(home, 'cgroup.procs'), pid);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
    await this.remove();
  }

  /** Tasks that are ending are in it for a moment still. */
  async remove(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        return rmdirSync(this.folder);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'ENOENT') return;
        if (code !== 'EBUSY' || tries === removeTries) throw error;
      }
      await sleep(removePauseMs);
    }
  }

  /** It stays as it is. */
  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

/** The folder of the cgroup that all threads are in; null where there is none that we can reach. */
function homeOf(pid: number, version: 1 | 2): string | null {
  const mount = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')).findLast(
    ({ fsType, superOptions }) =>
      version === 1
        ? fsType === 'cgroup' && superOptions.split(',').includes('freezer')
        : fsType === 'cgroup2',
  );
  if (!mount) return null;
  const texts = native.readFiles(
    readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}/cgroup`),
  );
  // A thread that has ended since is in none.
  const places = new Set(
    texts.flatMap((text) => (typeof text === 'number' ? [] : [placeIn(text.toString(), version)])),
  );
  const [place] = places;
  if (places.size !== 1 || place === undefined || place === null) return null;
  const below = path.posix.relative(mount.root, place);
  // Outside of our cgroup namespace, or of what is mounted here.
  if (below.startsWith('..') || place.startsWith('/..')) return null;
  return path.join(mount.mountPoint, below);
}

/** cgroups(7): lines of "ID:CONTROLLERS:PATH", the one of v2 "0::PATH". */
function placeIn(text: string, version: 1 | 2): string | null {
  for (const line of text.split('\n')) {
    const [, id, controllers, place] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    const isIt =
      version === 1 ? controllers?.split(',').includes('freezer') : id === '0' && controllers === '';
    if (isIt) return place!;
  }
  return null;
}
