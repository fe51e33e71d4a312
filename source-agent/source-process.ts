/**
 * The process to move, looked at from outside: what /proc tells, read in one native call for each look, and the
 * descriptors through which the agent works on it. Nothing here touches the process.
 */
import { closeSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { native } from '../native/index.js';
import { MigrationError } from '../shared/errors.js';
import { parseLimits } from '../shared/proc/limits.js';
import { type Mapping, parseMaps, parseSmaps } from '../shared/proc/mappings.js';
import { parseStat, type Stat } from '../shared/proc/stat.js';
import { parseStatus, type Status } from '../shared/proc/status.js';
import { limitNames } from '../shared/state/limits.js';

/** One thread as /proc shows it. */
export interface ThreadView {
  tid: number;
  status: Status;
  stat: Stat;
}

/** One look at the process. */
export interface ProcessView {
  leader: ThreadView;
  threads: ThreadView[];
}

export class SourceProcess implements Disposable {
  /** /proc/PID/pagemap, mem and maps, and a pidfd, open as long as this object. */
  readonly pagemap: number;
  readonly memory: number;
  readonly maps: number;
  readonly pidfd: number;
  /** The last text of maps, and what it says: programs have tens of thousands of mappings. */
  #text: Buffer = Buffer.alloc(0);
  #mappings: readonly Mapping[] = [];
  #limitsText: string | undefined;
  #limits: { soft: bigint; hard: bigint }[] = [];

  private constructor(readonly pid: number) {
    const opened: number[] = [];
    try {
      opened.push(native.pidfdOpen(pid));
      opened.push(openSync(`/proc/${pid}/pagemap`, 'r'));
      opened.push(openSync(`/proc/${pid}/mem`, 'r'));
      opened.push(openSync(`/proc/${pid}/maps`, 'r'));
    } catch (error) {
      for (const fd of opened) closeSync(fd);
      throw error;
    }
    [this.pidfd, this.pagemap, this.memory, this.maps] = opened as [number, number, number, number];
  }

  /** Throws MigrationError: no-such-process, not-permitted. */
  static open(pid: number): SourceProcess {
    try {
      return new SourceProcess(pid);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'EACCES' || code === 'EPERM') {
        throw new MigrationError('not-permitted', `process ${pid} may not be opened`, { pid }, { cause });
      }
      throw noSuchProcess(pid, cause);
    }
  }

  [Symbol.dispose](): void {
    for (const fd of [this.pidfd, this.pagemap, this.memory, this.maps]) closeSync(fd);
  }

  /** It has ended or is about to: its first thread has given up its memory. */
  get ended(): boolean {
    const text = this.read('status');
    return !text || parseStatus(text).vmSizeBytes === 0;
  }

  /** Its first thread has ended, and others go on. */
  get livesWithoutLeader(): boolean {
    const text = this.read('stat');
    if (!text) return false;
    const { state, threads } = parseStat(text);
    return state === 'Z' && threads > 1;
  }

  /**
   * The memory that was there when this object was made is not its memory any more: it has executed another program,
   * or ended. Whatever was read of it before a look that says no was of the same program (fs/proc/task_mmu.c: the
   * open file holds to the memory it was opened for).
   */
  get replaced(): boolean {
    try {
      return readSync(this.maps, Buffer.alloc(1), 0, 1, 0) === 0;
    } catch {
      return true; // ESRCH: it has ended
    }
  }

  /** Throws MigrationError 'process-exec' or 'no-such-process'. */
  assertSameProgram(): void {
    if (!this.replaced) return;
    if (this.ended) throw noSuchProcess(this.pid);
    let became = 'another program';
    try {
      became = readlinkSync(`/proc/${this.pid}/exe`);
    } catch {
      // It may be ending by now.
    }
    const what = `process ${this.pid} became ${became} during the migration`;
    throw new MigrationError('process-exec', what, { pid: this.pid });
  }

  /** Ids of all threads, in our pid namespace. */
  threadIds(): number[] {
    try {
      return readdirSync(`/proc/${this.pid}/task`).map(Number);
    } catch (cause) {
      throw noSuchProcess(this.pid, cause);
    }
  }

  look(tids = this.threadIds()): ProcessView {
    const files = native.readFiles(
      tids.flatMap((tid) => [`/proc/${this.pid}/task/${tid}/status`, `/proc/${this.pid}/task/${tid}/stat`]),
    );
    const threads: ThreadView[] = [];
    tids.forEach((tid, i) => {
      const [status, stat] = [files[i * 2]!, files[i * 2 + 1]!];
      if (typeof status === 'number' || typeof stat === 'number') return; // it ended meanwhile
      threads.push({ tid, status: parseStatus(status.toString()), stat: parseStat(stat.toString()) });
    });
    const leader = threads.find(({ tid }) => tid === this.pid);
    if (!leader) throw noSuchProcess(this.pid);
    return { leader, threads };
  }

  /** Text of one file under /proc/PID; null where it cannot be read. */
  read(name: string): string | null {
    return this.readBytes(name)?.toString() ?? null;
  }

  /** The same of several files, in one native call. */
  readAll(...names: string[]): (string | null)[] {
    return native
      .readFiles(names.map((name) => `/proc/${this.pid}/${name}`))
      .map((content) => (typeof content === 'number' ? null : content.toString()));
  }

  readBytes(name: string): Buffer | null {
    const [content] = native.readFiles([`/proc/${this.pid}/${name}`]);
    return typeof content === 'number' ? null : content!;
  }

  /**
   * Resource limits by number; the same list as long as they are the same. prlimit(2) would need CAP_SYS_RESOURCE for
   * other users' processes.
   */
  limits(): { soft: bigint; hard: bigint }[] {
    const text = this.read('limits') ?? '';
    if (text === this.#limitsText) return this.#limits;
    const unlimited = (1n << 64n) - 1n;
    const limits = parseLimits(text);
    this.#limits = limitNames.map((name, resource) => {
      const limit = limits.find((entry) => entry.resource === resource);
      if (!limit) {
        const what = `/proc/${this.pid}/limits does not tell the limit ${name}`;
        throw new MigrationError('unreadable-state', what, { pid: this.pid, object: name });
      }
      return { soft: limit.soft ?? unlimited, hard: limit.hard ?? unlimited };
    });
    this.#limitsText = text;
    return this.#limits;
  }

  /** The same list as long as the mappings are the same. */
  mappings(): readonly Mapping[] {
    const text = this.readBytes('maps');
    if (!text?.length) throw noSuchProcess(this.pid);
    if (!text.equals(this.#text)) {
      this.#mappings = inOrder(parseMaps(text.toString()));
      this.#text = text;
    }
    return this.#mappings;
  }

  mappingsWithFlags(): Mapping[] {
    const text = this.read('smaps');
    if (!text) throw noSuchProcess(this.pid);
    return inOrder(parseSmaps(text));
  }
}

/**
 * The kernel writes these files a piece at a time, and a mapping that grew or joined its neighbour between two pieces
 * shows twice: what was told already is cut off. Of a stopped program the text is exact.
 */
export function inOrder(mappings: readonly Mapping[]): Mapping[] {
  const ordered: Mapping[] = [];
  let end = 0n;
  for (const mapping of mappings) {
    if (mapping.end <= end) continue;
    const cut = mapping.start < end ? end - mapping.start : 0n;
    const offset = mapping.path.startsWith('/') ? mapping.offset + cut : mapping.offset;
    ordered.push(cut === 0n ? mapping : { ...mapping, start: end, offset });
    end = mapping.end;
  }
  return ordered;
}

export function noSuchProcess(pid: number, cause?: unknown): MigrationError {
  return new MigrationError('no-such-process', `there is no process ${pid}`, { pid }, { cause });
}
