/**
 * Two hosts on one machine, for moving real processes: this one, and a pid namespace with its own /proc and agent.
 * `migrate` runs as a command of its own, as a user would run it.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseListening } from '../../cli/agent.js';
import { eachLine } from '../../cli/demo/lines.js';
import { TargetHost } from '../../cli/demo/target-host.js';
import { createSecret } from '../../shared/secret.js';
import type { FailureReport, Report } from '../../source-agent/report.js';
import { scaled } from './time.js';

export const command = [process.execPath, fileURLToPath(new URL('../../cli/main.js', import.meta.url))];

/** How long a shepherd may take to end after its process. */
const shepherdMs = 10000;

export interface MoveResult {
  code: number | null;
  /** The last line of --json. */
  result: Report | FailureReport;
  /** Everything it printed. */
  output: string;
}

export class TwoHosts implements AsyncDisposable {
  private constructor(
    readonly folder: string,
    readonly secretFile: string,
    readonly target: TargetHost,
    private readonly home: HomeAgent | null,
  ) {}

  /** `withHome`: an agent on this host as well, to move back. `agent`: what stands for `migrate` on the target. */
  static async start({ withHome = false, agent = command } = {}): Promise<TwoHosts> {
    const folder = mkdtempSync(join(tmpdir(), 'godwit-hosts-'));
    // Both hosts and every command that a test starts by itself: records of a test end with it.
    process.env.GODWIT_STATE = join(folder, 'journals');
    const secretFile = join(folder, 'secret');
    writeFileSync(secretFile, `${createSecret()}\n`, { mode: 0o600 });
    const target = await TargetHost.start({ command: agent, secretFile, folder });
    const home = withHome ? await HomeAgent.start(secretFile, folder) : null;
    return new TwoHosts(folder, secretFile, target, home);
  }

  /** Moves a process of this host to the target. */
  move(pid: number, ...options: string[]): Promise<MoveResult> {
    return this.run([...command, String(pid), this.target.address, ...options]);
  }

  /** Moves a process of the target, by its pid there, back to this host. */
  moveBack(innerPid: number, ...options: string[]): Promise<MoveResult> {
    if (!this.home) throw new Error('there is no agent on this host');
    return this.run([...this.target.within, ...command, String(innerPid), this.home.address, ...options]);
  }

  /** Runs a `migrate` command with --json; with the secret file null both are part of the command already. */
  run([program, ...given]: string[], secretFile: string | null = this.secretFile): Promise<MoveResult> {
    const args = secretFile === null ? given : [...given, '--json', '--secret-file', secretFile];
    return new Promise((resolve) => {
      const child = execFile(program!, args, { maxBuffer: 64 << 20 }, (_error, stdout, stderr) => {
        const last = stdout.trim().split('\n').at(-1) ?? '';
        const result = (last.startsWith('{') ? JSON.parse(last) : {}) as Report | FailureReport;
        resolve({ code: child.exitCode, result, output: stdout + stderr });
      });
    });
  }

  /** What the target's agent logged. */
  get targetLog(): string {
    return readFileSync(join(this.folder, 'agent.log'), 'utf8');
  }

  /** Kills the process that has this pid on the target; false where there is none. */
  killOnTarget(innerPid: number): boolean {
    const found = this.target.find(innerPid);
    if (found) process.kill(found.pid, 'SIGKILL');
    return found !== null;
  }

  // Processes that were moved to this host live on without its agent, and so do their shepherds, which write down how
  // they ended: a test must leave neither, and the folder can only go when nobody writes into it any more.
  async #endGuests(): Promise<void> {
    const deadline = Date.now() + scaled(shepherdMs);
    for (;;) {
      const parents = parentsOfAll();
      const shepherds = [...parents.keys()].filter((pid) =>
        textOf(pid, 'cmdline').includes(join(this.folder, 'home')),
      );
      if (shepherds.length === 0) return;
      if (Date.now() > deadline) throw new Error(`shepherds ${shepherds.join(', ')} do not end`);
      const guests = [...parents].filter(
        ([pid, parent]) => shepherds.includes(parent) && !shepherds.includes(pid),
      );
      for (const [pid] of guests) kill(pid);
      await setTimeout(20);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.home?.[Symbol.asyncDispose]();
    await this.#endGuests();
    await this.target[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function parentsOfAll(): Map<number, number> {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return new Map(
    pids.map((pid) => [Number(pid), Number(/^PPid:\t(\d+)$/m.exec(textOf(Number(pid), 'status'))?.[1] ?? 0)]),
  );
}

function textOf(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // it ended meanwhile
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended meanwhile
  }
}

/** An agent of this host. */
class HomeAgent implements AsyncDisposable {
  private constructor(
    private readonly child: ChildProcess,
    readonly address: string,
  ) {}

  static async start(secretFile: string, folder: string): Promise<HomeAgent> {
    const [node, ...main] = command;
    const given = [
      'agent',
      '--listen',
      '127.0.0.1:0',
      '--secret-file',
      secretFile,
      '--state-dir',
      join(folder, 'home'),
    ];
    const child = spawn(node!, [...main, ...given], { stdio: ['ignore', 'pipe', 'inherit'] });
    const address = await new Promise<string>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the agent ended with exit code ${code}`)));
      eachLine(child.stdout!, (line) => {
        const listening = parseListening(line);
        if (listening !== null) resolve(listening);
      });
    });
    return new HomeAgent(child, address);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await ended;
    // Shepherds hold the other end as long as their process lives.
    this.child.stdout!.destroy();
  }
}
