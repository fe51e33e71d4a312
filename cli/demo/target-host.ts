/**
 * The demo's second host: a target agent in a pid namespace with its own /proc, where the program's pid is free. Its
 * first process reaps orphans and goes on until its standard input ends, so the namespace ends with the demo even if
 * that is killed, and takes everything in it along.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationError } from '../../shared/errors.js';
import { parseStatus } from '../../shared/proc/status.js';
import { parseListening } from '../agent.js';
import { eachLine } from './lines.js';

// The shell gives background commands /dev/null as standard input, so `cat` gets it as descriptor 3. While it waits
// for `cat`, the shell collects every child that ends, orphans of others included.
const init = `exec 3<&0
{ "$@" 3<&-; echo "agent ended with exit code $?"; } &
cat <&3 >/dev/null &
wait $!`;

export interface DemoHostOptions {
  /** What runs godwit: node and cli/main.js. */
  command: readonly string[];
  secretFile: string;
  /** The agent's state and log go there. */
  folder: string;
}

/** A task as this machine sees it. */
export interface FoundTask {
  pid: number;
  parent: { pid: number; name: string };
}

export class TargetHost implements AsyncDisposable {
  private constructor(
    private readonly unshare: ChildProcess,
    /** host:port of the agent. */
    readonly address: string,
  ) {}

  static async start({ command, secretFile, folder }: DemoHostOptions): Promise<TargetHost> {
    const agent = [
      'agent',
      '--listen',
      '127.0.0.1:0',
      '--secret-file',
      secretFile,
      '--state-dir',
      join(folder, 'state'),
    ];
    const namespace = ['--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-c', init, 'sh'];
    const logFile = join(folder, 'agent.log');
    const log = openSync(logFile, 'a');
    const unshare = spawn('unshare', [...namespace, ...command, ...agent], {
      stdio: ['pipe', 'pipe', log],
      // Ctrl-C at the terminal is for the demo, which ends the rest in order.
      detached: true,
    });
    closeSync(log);
    try {
      return new TargetHost(unshare, await listening(unshare));
    } catch (cause) {
      await end(unshare);
      const said = readFileSync(logFile, 'utf8').trim().split('\n').slice(-5).join('\n  ');
      const what = `the target agent did not start: ${(cause as Error).message}${said && `\n  ${said}`}`;
      throw new MigrationError('target-failed', what, {}, { cause });
    }
  }

  /** A command that runs another one inside the namespace: its program and arguments follow. */
  get within(): string[] {
    const init = this.find(1)!.pid;
    return ['nsenter', '--target', String(init), '--pid', '--mount', '--'];
  }

  /** All processes inside the namespace, by their pids here. */
  tasks(): number[] {
    const namespace = readlinkSync(`/proc/${this.unshare.pid}/ns/pid_for_children`);
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .filter((entry) => {
        try {
          return readlinkSync(`/proc/${entry}/ns/pid`) === namespace;
        } catch {
          return false; // It ended while we looked.
        }
      })
      .map(Number);
  }

  /** The task with this pid inside the namespace; null where there is none. */
  find(innerPid: number): FoundTask | null {
    for (const pid of this.tasks()) {
      try {
        const status = parseStatus(readFileSync(`/proc/${pid}/status`, 'utf8'));
        if (status.nsPid.at(-1) !== innerPid) continue;
        const parent = parseStatus(readFileSync(`/proc/${status.ppid}/status`, 'utf8'));
        return { pid, parent: { pid: status.ppid, name: parent.name } };
      } catch {
        // It ended while we looked.
      }
    }
    return null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await end(this.unshare);
  }
}

function listening(unshare: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    unshare.once('error', reject);
    unshare.once('exit', (code) => reject(new Error(`unshare ended with exit code ${code}`)));
    eachLine(unshare.stdout!, (line) => {
      const address = parseListening(line);
      if (address !== null) resolve(address);
      else reject(new Error(line));
    });
  });
}

/** `unshare` waits for the first process of the namespace, which ends when all others in it are gone. */
async function end(unshare: ChildProcess): Promise<void> {
  if (unshare.pid === undefined || unshare.exitCode !== null || unshare.signalCode !== null) return;
  const ended = once(unshare, 'exit');
  unshare.stdin!.end();
  await ended;
}
