/**
 * Where standard streams lead that led out of the process at home: into a log that the shepherd writes, to nothing,
 * or into a file (`--stdio`).
 */
import { closeSync, createWriteStream, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { native } from '../native/index.js';
import { MigrationError } from '../shared/errors.js';
import type { Description } from '../shared/state/files.js';

type Stream = Extract<Description, { kind: 'stream' }>;

const setFlags = 4; // F_SETFL

export class StandardStreams {
  #used = false;

  /** `destination`: 'log', 'null' or a path; `logFile`: where the log would be. */
  constructor(
    readonly destination: string,
    readonly logFile: string,
  ) {}

  /** The log's path once something leads there. */
  get log(): string | null {
    return this.#used && this.destination === 'log' ? this.logFile : null;
  }

  /** A descriptor of ours for one stream of the process. */
  open({ direction, flags }: Stream): number {
    // Nobody is there to type: reading finds the end.
    if (direction === 'in') return openSync('/dev/null', 'r');
    this.#used = true;
    if (this.destination === 'null') return openSync('/dev/null', 'r+');
    if (this.destination !== 'log') return openDestination(this.destination);
    const [read, write] = native.pipe();
    this.#relay(read);
    native.fcntl(write, setFlags, flags & ~3);
    return write;
  }

  #relay(read: number): void {
    const pipe = new Socket({ fd: read, readable: true, writable: false });
    const log = createWriteStream(this.logFile, { flags: 'a', mode: 0o600 });
    // A log that cannot be written must not stop the program: what it says is then lost.
    log.on('error', () => pipe.resume());
    pipe.on('error', () => log.end());
    // A program that says more than the disk takes waits, as it would for a terminal.
    pipe.on('data', (bytes) => {
      if (!log.destroyed && !log.write(bytes)) pipe.pause();
    });
    log.on('drain', () => pipe.resume());
    pipe.on('end', () => log.end());
  }
}

function openDestination(path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (cause) {
    throw new MigrationError(
      'no-space',
      `${path} cannot be opened for the standard streams`,
      { object: path },
      { cause },
    );
  }
}

/** True where the path could be written. Throws nothing. */
export function isWritable(path: string): boolean {
  try {
    closeSync(openSync(path, 'a', 0o600));
    return true;
  } catch {
    return false;
  }
}
