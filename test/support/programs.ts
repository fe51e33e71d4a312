/**
 * The self-checking programs of test/programs: compiled once, started, asked, judged. Everything but the start goes
 * through the status file, so it works the same when the program lives on elsewhere (see test/programs/program.h).
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { scaled } from './time.js';

const sources = fileURLToPath(new URL('../../../test/programs/', import.meta.url));
const cache = fileURLToPath(new URL('../programs/', import.meta.url));
const flags = ['-std=gnu11', '-O2', '-pthread', '-Wall', '-Wextra', '-Werror'];

/** Names of all self-checking programs, without the ending. */
export function programNames(): string[] {
  const checksItself = /^#include "(program|mappings|probes)\.h"$/m;
  return readdirSync(sources)
    .filter((file) => file.endsWith('.c') && checksItself.test(readFileSync(join(sources, file), 'utf8')))
    .map((file) => basename(file, '.c'))
    .sort();
}

/** Path of the executable of test/programs/NAME.c, compiled with cc unless the same source has been before. */
export function compileProgram(name: string): string {
  const hash = createHash('sha256').update(flags.join(' '));
  for (const file of readdirSync(sources).sort()) {
    if (file.endsWith('.h') || file === `${name}.c`) hash.update(readFileSync(join(sources, file)));
  }
  const folder = join(cache, hash.digest('hex').slice(0, 16));
  // The plain name: it becomes the program's comm.
  const executable = join(folder, name);
  if (existsSync(executable)) return executable;
  mkdirSync(folder, { recursive: true });
  // Test files run at the same time: each compiles apart and the last rename wins.
  const unfinished = `${executable}.${process.pid}`;
  execFileSync('cc', [...flags, '-o', unfinished, join(sources, `${name}.c`), '-lm'], { stdio: 'inherit' });
  renameSync(unfinished, executable);
  return executable;
}

/** Runs a command without the descriptors that whoever started the tests left open: they would lead out of it. */
export const withoutInherited = [
  'bash',
  '-c',
  'for f in /proc/$$/fd/*; do n=$(basename "$f"); [ "$n" -le 2 ] || eval "exec $n>&-"; done; exec "$@"',
  'bash',
];

/** Path of the executable of a C++ file. */
export function compileCpp(source: string): string {
  const text = readFileSync(source);
  const folder = join(cache, createHash('sha256').update(text).digest('hex').slice(0, 16));
  const executable = join(folder, basename(source, '.cc'));
  if (existsSync(executable)) return executable;
  mkdirSync(folder, { recursive: true });
  const unfinished = `${executable}.${process.pid}`;
  execFileSync('c++', ['-std=gnu++20', '-O2', '-pthread', '-Wall', '-Wextra', '-o', unfinished, source], {
    stdio: 'inherit',
  });
  renameSync(unfinished, executable);
  return executable;
}

export interface Verdict {
  passed: boolean;
  /** Lines "FAIL: what, expected E, got G". */
  failures: string[];
}

export interface StartOptions {
  /** Options for the program, after the status file. */
  options?: string[];
  /** A command that starts it, for example ['unshare', '--pid']; the program and its arguments follow. */
  through?: string[];
  env?: Record<string, string>;
  cwd?: string;
}

/** One run of a program. `using` kills what is still ours and removes its files. */
export class ProgramRun implements Disposable {
  readonly folder: string;
  readonly statusFile: string;
  private readonly child: ChildProcess;
  private readonly exited: Promise<void>;

  private constructor(
    readonly name: string,
    commandLine: (statusFile: string) => string[],
    { env, cwd }: Pick<StartOptions, 'env' | 'cwd'>,
  ) {
    this.folder = mkdtempSync(join(tmpdir(), `godwit-${name}-`));
    // Programs that give up their rights still look for the check in here.
    chmodSync(this.folder, 0o755);
    this.statusFile = join(this.folder, 'status');
    const [command, ...rest] = [...withoutInherited, ...commandLine(this.statusFile)];
    this.child = spawn(command!, rest, {
      stdio: 'ignore',
      env: env ?? { PATH: '/usr/bin:/bin', LANG: 'C' },
      cwd: cwd ?? this.folder,
      detached: true,
    });
    this.exited = new Promise((resolve, reject) => {
      this.child.once('exit', () => resolve());
      this.child.once('error', reject);
    });
    // A failed start is told by whoever waits; without a waiter it must not end the test process.
    this.exited.catch(() => {});
  }

  /** Starts a program and waits until it is ready. */
  static start(name: string, options: StartOptions = {}): Promise<ProgramRun> {
    const executable = compileProgram(name);
    const { through = [], options: given = [] } = options;
    return ProgramRun.command(name, (status) => [...through, executable, status, ...given], options);
  }

  /** Starts any program that speaks the same protocol. */
  static async command(
    name: string,
    commandLine: (statusFile: string) => string[],
    options: Pick<StartOptions, 'env' | 'cwd'> = {},
  ): Promise<ProgramRun> {
    const run = new ProgramRun(name, commandLine, options);
    try {
      await run.line(/^READY$/);
    } catch (error) {
      run[Symbol.dispose]();
      throw error;
    }
    return run;
  }

  /** The process as started, before any move. */
  get pid(): number {
    return this.child.pid!;
  }

  /** Sends a signal to the process as started. */
  signal(name: NodeJS.Signals): void {
    process.kill(this.pid, name);
  }

  /** It ended by itself. SIGKILL is how a move ends the process here: the program then lives on elsewhere. */
  private hasEnded(): boolean {
    const { exitCode, signalCode, pid } = this.child;
    return pid === undefined || exitCode !== null || (signalCode !== null && signalCode !== 'SIGKILL');
  }

  /** Complete lines written so far. */
  lines(): string[] {
    if (!existsSync(this.statusFile)) return [];
    return readFileSync(this.statusFile, 'latin1').split('\n').slice(0, -1);
  }

  /** Waits for a line, from line number `from` on; throws what the program said instead when it ends or is late. */
  async line(pattern: RegExp, { from = 0, timeoutMs = 60_000 } = {}): Promise<string> {
    const deadline = Date.now() + scaled(timeoutMs);
    for (;;) {
      // Read after asking whether it ended: its last words are then in the file.
      const ended = this.hasEnded();
      const lines = this.lines();
      const found = lines.slice(from).find((line) => pattern.test(line));
      if (found !== undefined) return found;
      if (ended || Date.now() > deadline) {
        const why = ended
          ? `it ended (${this.child.exitCode ?? this.child.signalCode})`
          : `${scaled(timeoutMs)} ms passed`;
        throw new Error(`${this.name} never said ${pattern}: ${why}; it said ${JSON.stringify(lines)}`);
      }
      await sleep(10);
    }
  }

  /** Asks a long-lived program for a report; its lines, up to the last one ("DONE"). */
  async ask(timeoutMs = 30_000): Promise<string[]> {
    const from = this.lines().length;
    writeFileSync(`${this.statusFile}.ask`, '');
    await this.line(/^DONE$/, { from, timeoutMs });
    return this.lines()
      .slice(from)
      .filter((line) => line !== 'DONE');
  }

  /** Tells the program to check itself and waits for what it says. */
  async check(timeoutMs = 60_000): Promise<Verdict> {
    writeFileSync(`${this.statusFile}.check`, '');
    const failed = /^FAIL: /;
    await this.line(/^PASS$|^FAIL: /, { timeoutMs });
    // More findings may follow the first: until it ends or, where its end cannot be seen, has been quiet for a while.
    for (
      let known = 0, quiet = 0;
      quiet < 25 && !this.hasEnded() && !this.lines().includes('PASS');
      quiet++
    ) {
      const count = this.lines().length;
      if (count > known) quiet = 0;
      known = count;
      await sleep(20);
    }
    const failures = this.lines().filter((line) => failed.test(line));
    return { passed: failures.length === 0, failures };
  }

  /** Exit code of the process as started; null when a signal ended it. */
  async exitCode(): Promise<number | null> {
    await this.exited;
    return this.child.exitCode;
  }

  [Symbol.dispose](): void {
    if (this.child.pid !== undefined && this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill('SIGKILL');
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
