/** A child of ours that only waits: something to rehearse or try with what a real program shall not be the first for. */
import { closeSync } from 'node:fs';
import { native, skeletonProgram } from '../native/index.js';

const stopMs = 2000;
const SIGKILL = 9;

export class StandIn implements Disposable {
  #ended = false;

  private constructor(
    readonly pid: number,
    private readonly lifeline: number,
  ) {}

  /** Throws KernelError where no child can be made or stopped. */
  static start(): StandIn {
    // Its standard input ends with us, and it with that.
    const [input, lifeline] = native.pipe();
    let standIn: StandIn | undefined;
    try {
      const descriptors: [number, number][] = [[input, 0]];
      const pid = native.spawn({ program: skeletonProgram, pids: [], descriptors, newSession: false });
      standIn = new StandIn(pid, lifeline);
      // The start of a program lets its parent go on before anything of it is mapped; it can be stopped once it runs.
      native.seizeAndStop([pid], 0, stopMs);
      native.detach([pid]);
      return standIn;
    } catch (error) {
      if (standIn) standIn[Symbol.dispose]();
      else closeSync(lifeline);
      throw error;
    } finally {
      closeSync(input);
    }
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Somebody else has ended and collected it. */
  ended(): void {
    this.#ended = true;
  }

  [Symbol.dispose](): void {
    closeSync(this.lifeline);
    if (this.#ended) return;
    native.kill(this.pid, SIGKILL);
    while (native.reap(this.pid) === null);
  }
}
