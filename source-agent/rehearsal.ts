/**
 * The freeze, rehearsed with a stand-in: a child of ours that only waits. The first stop of a real program would else
 * be the one in which all of this code is compiled and fetched, which takes several times as long as running it.
 */
import { closeSync } from 'node:fs';
import { native, skeletonProgram } from '../native/index.js';
import { endSource } from './ending.js';
import { hold } from './holder.js';
import type { PipeCensus } from './pipe-census.js';
import { SourceProcess } from './source-process.js';
import { difference } from './state-difference.js';
import { Stopper } from './stop.js';
import { UserfaultTracker } from './tracker/userfault.js';

const stopMs = 2000;
const SIGKILL = 9;

export class Rehearsal implements Disposable {
  readonly #stopper: Stopper;
  #ended = false;

  private constructor(
    readonly process: SourceProcess,
    pipes: PipeCensus,
    /** The stand-in's standard input ends with us, and it with that. */
    private readonly lifeline: number,
  ) {
    this.#stopper = new Stopper(process, pipes);
  }

  /** Throws where no stand-in can be made or stopped, which need not stand in a migration's way. */
  static begin(pipes: PipeCensus): Rehearsal {
    const [input, lifeline] = native.pipe();
    try {
      const descriptors: [number, number][] = [[input, 0]];
      const pid = native.spawn({ program: skeletonProgram, pids: [], descriptors, newSession: false });
      try {
        // The start of a program lets its parent go on before anything of it is mapped; it can be stopped once it runs.
        native.seizeAndStop([pid], 0, stopMs);
        native.detach([pid]);
        return new Rehearsal(SourceProcess.open(pid), pipes, lifeline);
      } catch (error) {
        end(pid);
        throw error;
      }
    } catch (error) {
      closeSync(lifeline);
      throw error;
    } finally {
      closeSync(input);
    }
  }

  /** The stop and the capture, 1 ms each when they are warm (measured: 5 ms the first, 1.6 the second, 1 the fifth). */
  perform(times: number): void {
    for (let i = 0; i < times; i += 1) {
      using frozen = this.#stopper.freeze();
      frozen.carry(this.#stopper.mappings());
      UserfaultTracker.open(frozen, new native.SentPages(), 1).close();
      const state = this.#stopper.capture(frozen, []);
      difference({ ...state, threads: [] }, state);
    }
  }

  /** The stand-in is held and ended as the source will be. */
  [Symbol.dispose](): void {
    if (this.#ended) return;
    this.#ended = true;
    const { pid } = this.process;
    try {
      const frozen = this.#stopper.freeze();
      frozen.carry(this.#stopper.mappings());
      frozen.holdAll();
      hold(pid);
      endSource(frozen);
    } catch {
      end(pid);
    } finally {
      this.process[Symbol.dispose]();
      closeSync(this.lifeline);
    }
  }
}

function end(pid: number): void {
  native.kill(pid, SIGKILL);
  while (native.reap(pid) === null);
}
