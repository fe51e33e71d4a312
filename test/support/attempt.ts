/** A `migrate` that is watched while it goes on, so that a test can strike at a step of the walk. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { eachLine } from '../../cli/demo/lines.js';
import type { FailureReport, MigrationEvent, Report } from '../../source-agent/report.js';
import { command } from './two-hosts.js';

export interface Outcome {
  code: number | null;
  /** The last line of --json. */
  result: Report | FailureReport;
  /** Everything it printed. */
  output: string;
}

export class Attempt {
  readonly events: MigrationEvent[] = [];
  readonly ended: Promise<Outcome>;
  #stderr = '';

  private constructor(readonly child: ChildProcess) {
    eachLine(child.stdout!, (line) => {
      this.events.push(JSON.parse(line) as MigrationEvent);
      child.emit('line');
    });
    child.stderr!.on('data', (text) => {
      this.#stderr += text;
    });
    this.ended = once(child, 'close').then(([code]) => {
      child.emit('line');
      return {
        code: code as number | null,
        result: (this.events.at(-1) ?? {}) as unknown as Report | FailureReport,
        output: `${JSON.stringify(this.events)}\n${this.#stderr}`,
      };
    });
  }

  static start(pid: number, address: string, secretFile: string, ...options: string[]): Attempt {
    const [node, main] = command as [string, string];
    const given = [main, String(pid), address, '--json', '--secret-file', secretFile, ...options];
    return new Attempt(spawn(node, given, { stdio: ['ignore', 'pipe', 'pipe'] }));
  }

  /** Resolves when the step has begun for the nth time. Throws where the attempt ended before. */
  async reached(step: string, nth = 1): Promise<void> {
    const begun = () => this.events.filter((event) => event.event === 'step' && event.step === step).length;
    while (begun() < nth) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`it ended before ${step}: ${(await this.ended).output}`);
      }
      await once(this.child, 'line');
    }
  }
}
