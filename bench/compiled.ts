/** A C program of this folder, compiled for one run. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const flags = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror'];

export class Compiled implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'godwit-bench-'));
  /** Path of the executable. */
  readonly program: string;

  /** Throws Error where no C compiler can be run. */
  constructor(name: string) {
    this.program = join(this.#folder, name);
    const source = fileURLToPath(new URL(`../../bench/${name}.c`, import.meta.url));
    try {
      execFileSync('cc', [...flags, '-o', this.program, source]);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
