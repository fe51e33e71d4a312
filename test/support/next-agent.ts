/** Another agent on the target, on the state directory of the first: what a person starts when that one is gone. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseListening } from '../../cli/agent.js';
import { eachLine } from '../../cli/demo/lines.js';
import { command, type TwoHosts } from './two-hosts.js';

export class NextAgent implements AsyncDisposable {
  private constructor(
    private readonly hosts: TwoHosts,
    private readonly child: ChildProcess,
    readonly target: { address: string },
    readonly secretFile: string,
  ) {}

  static async start(hosts: TwoHosts): Promise<NextAgent> {
    const { target, secretFile, folder } = hosts;
    const [within, ...more] = target.within as [string, ...string[]];
    const given = ['--secret-file', secretFile, '--state-dir', join(folder, 'state')];
    const agent = [...more, ...command, 'agent', '--listen', '127.0.0.1:0', ...given];
    const child = spawn(within, agent, { stdio: ['ignore', 'pipe', 'inherit'] });
    const address = await new Promise<string>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the agent ended with exit code ${code}`)));
      eachLine(child.stdout!, (line) => resolve(parseListening(line)!));
    });
    return new NextAgent(hosts, child, { address }, secretFile);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.child, 'exit');
    // nsenter passes no signal on.
    for (const pid of processesRunning(this.hosts, 'main.js agent')) process.kill(pid, 'SIGTERM');
    await ended;
    // Shepherds hold the other end as long as their process lives.
    this.child.stdout!.destroy();
  }
}

/** Pids here of what runs one of these on the target: "main.js agent", "shepherd.js", "witness.js". */
export function processesRunning({ target }: TwoHosts, what: string): number[] {
  return target.tasks().filter((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
      // Its options before, and its arguments after, are of no interest.
      const [program, ...more] = words.filter((word) => !word.startsWith('-'));
      return [program, ...more.slice(0, 2)].join(' ').includes(what);
    } catch {
      return false; // it ended meanwhile
    }
  });
}
