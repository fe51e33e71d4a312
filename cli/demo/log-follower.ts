/** Follows a file that another process appends to. */
import { closeSync, openSync, readSync } from 'node:fs';
import { LineSplitter } from './lines.js';

const everyMs = 50;

export class LogFollower implements Disposable {
  readonly lines: string[] = [];
  readonly #fd: number;
  readonly #timer: NodeJS.Timeout;
  readonly #buffer = Buffer.alloc(65536);
  readonly #splitter: LineSplitter;
  #offset = 0;

  constructor(file: string, onLine: (line: string) => void) {
    this.#fd = openSync(file, 'r');
    this.#splitter = new LineSplitter((line) => {
      this.lines.push(line);
      onLine(line);
    });
    this.#timer = setInterval(() => this.#read(), everyMs);
  }

  #read(): void {
    for (;;) {
      const bytes = readSync(this.#fd, this.#buffer, 0, this.#buffer.length, this.#offset);
      if (bytes === 0) return;
      this.#offset += bytes;
      this.#splitter.push(this.#buffer.toString('latin1', 0, bytes));
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    closeSync(this.#fd);
  }
}
