import { execFileSync } from 'node:child_process';

/** This process, and so all that it starts, on one CPU, until it is disposed of. By taskset(1). */
export class Pinned implements Disposable {
  readonly #before: string;

  constructor(cpu: number) {
    const shown = execFileSync('taskset', ['--cpu-list', '--pid', String(process.pid)], { encoding: 'utf8' });
    this.#before = shown.slice(shown.lastIndexOf(':') + 1).trim();
    this.#pin(String(cpu));
  }

  #pin(cpus: string): void {
    execFileSync('taskset', ['--all-tasks', '--cpu-list', '--pid', cpus, String(process.pid)]);
  }

  [Symbol.dispose](): void {
    this.#pin(this.#before);
  }
}
