/** The `criu` command, as unpacked from its package: started through its own loader, with its own libraries. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

/** It could not do what it was asked for: the line in its log that says why. */
export class CriuFailure extends Error {}

export class Criu {
  readonly #libraries: string;

  constructor(private readonly root: string) {
    this.#libraries = join(root, 'usr/lib/x86_64-linux-gnu');
  }

  async version(): Promise<string> {
    const child = this.#start(['--version'], ['ignore', 'pipe', 'ignore']);
    let said = '';
    child.stdout!.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
    await once(child, 'close');
    return /^Version: (\S+)$/m.exec(said)?.[1] ?? 'unknown';
  }

  /** Runs an action on a folder of images until it has ended. Throws CriuFailure. */
  async run(action: string, images: string, ...options: string[]): Promise<void> {
    using running = this.start(action, images, ...options);
    await running.succeeded;
  }

  start(action: string, images: string, ...options: string[]): RunningCriu {
    const logFile = `${action}.log`;
    const args = [action, '--images-dir', images, '--log-file', logFile, ...options];
    return new RunningCriu(this.#start(args, 'ignore'), action, join(images, logFile));
  }

  /** A page server on loopback, listening. It ends after one dump. Throws CriuFailure. */
  async pageServer(images: string, ...options: string[]): Promise<{ running: RunningCriu; reach: string[] }> {
    const reach = ['--address', '127.0.0.1', '--port', String(await freePort())];
    const logFile = 'page-server.log';
    const args = ['page-server', '--images-dir', images, '--log-file', logFile, '--status-fd', '3'];
    // It writes a byte to --status-fd once it listens (man 8 criu).
    const child = this.#start([...args, ...reach, ...options], ['ignore', 'ignore', 'ignore', 'pipe']);
    const running = new RunningCriu(child, 'page-server', join(images, logFile));
    const listens = once(child.stdio[3]!, 'data');
    await Promise.race([listens, running.succeeded.then(() => listens)]);
    return { running, reach: ['--page-server', ...reach] };
  }

  #start(args: readonly string[], stdio: 'ignore' | ('ignore' | 'pipe')[]): ChildProcess {
    const loader = join(this.#libraries, 'ld-linux-x86-64.so.2');
    const program = join(this.root, 'usr/sbin/criu');
    return spawn(loader, ['--library-path', this.#libraries, program, ...args], { stdio });
  }
}

/** `using` kills what still runs. */
export class RunningCriu implements Disposable {
  /** Throws CriuFailure where it ends with anything but 0. */
  readonly succeeded: Promise<void>;

  constructor(
    private readonly child: ChildProcess,
    action: string,
    logFile: string,
  ) {
    this.succeeded = once(child, 'exit').then(([code]) => {
      if (code !== 0) throw new CriuFailure(`criu ${action}: ${reasonIn(logFile) ?? `exit code ${code}`}`);
    });
    this.succeeded.catch(() => undefined);
  }

  [Symbol.dispose](): void {
    this.child.kill('SIGKILL');
  }
}

function reasonIn(logFile: string): string | null {
  if (!existsSync(logFile)) return null;
  return decisiveError(readFileSync(logFile, 'utf8'));
}

/** The last error in a log of CRIU that is no mere verdict: earlier ones may have been survived. Null without any. */
export function decisiveError(log: string): string | null {
  const errors = [...log.matchAll(/^(?:\([\d.]+\)\s+)?(?:\d+: )?Error (?:\([^)]*\): )?(.+)$/gm)];
  const reasons = errors.map(([, reason]) => reason!);
  return reasons.findLast((reason) => !reason.endsWith('FAILED.')) ?? reasons.at(-1) ?? null;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('a port was expected');
  return address.port;
}
