/** The program that the demo moves, while it runs here: see counter.py. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { MigrationError } from '../../shared/errors.js';
import { parseCounterLine } from './counting.js';
import { eachLine } from './lines.js';

const interpreters = [
  { command: '/usr/bin/python3', file: 'counter.py', check: ['-c', ''] },
  { command: 'python3', file: 'counter.py', check: ['-c', ''] },
  { command: 'perl', file: 'counter.pl', check: ['-e', ''] },
] as const;

// A pipe, as in a shell: node's own would be sockets. `setsid` lets the program lead its session, as a daemon would.
const pipeline = 'setsid "$@" 2>&1 </dev/null | cat';

const endTimeoutMs = 10_000;

export class Counter implements AsyncDisposable {
  /** Every line it printed here. */
  readonly lines: string[] = [];
  pid = 0;

  private constructor(
    private readonly shell: ChildProcess,
    readonly interpreter: string,
  ) {}

  /** Resolves with its first line, when its objects are there. */
  static async start(onLine: (line: string) => void): Promise<Counter> {
    const found = interpreters.find(({ command, check }) => spawnSync(command, check).status === 0);
    if (!found) throw new MigrationError('usage', 'the demo needs python3 or perl as the program to move');
    // dist/cli/demo/counter.js -> cli/demo/
    const file = fileURLToPath(new URL(`../../../cli/demo/${found.file}`, import.meta.url));
    const shell = spawn('sh', ['-c', pipeline, 'sh', found.command, file], {
      cwd: '/',
      // In other locales the C library maps a table of its own as shared memory, which is not carried yet.
      env: { PATH: process.env.PATH },
      // The shell would say "Killed" when the source has been ended; the program's own errors are in the pipe.
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    const counter = new Counter(shell, found.command);
    await new Promise<void>((resolve, reject) => {
      shell.once('error', reject);
      shell.once('exit', () => reject(new Error(`the program ended: ${counter.lines.join('\n')}`)));
      eachLine(shell.stdout!, (line) => {
        counter.lines.push(line);
        onLine(line);
        counter.pid ||= parseCounterLine(line)?.pid ?? 0;
        if (counter.pid > 0) resolve();
      });
    });
    return counter;
  }

  /** Resolves when all that it printed here has been read: its pipe has ended, because it has. */
  async drained(): Promise<void> {
    if (this.shell.stdout!.readableEnded) return;
    try {
      await once(this.shell.stdout!, 'end', { signal: AbortSignal.timeout(endTimeoutMs) });
    } catch (cause) {
      const what = `process ${this.pid} still has its output open after it was to end`;
      throw new MigrationError('internal', what, { pid: this.pid }, { cause });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.pid > 0 && !this.shell.stdout!.readableEnded) {
      try {
        process.kill(this.pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
      await this.drained();
    }
  }
}
