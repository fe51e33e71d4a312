/**
 * An agent's visit without its capture: the program is stopped, a stub runs in one thread, calls are made in every
 * other thread, and it goes on. Works for programs that could not be moved, too.
 */
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { FrozenProcess } from '../../source-agent/frozen-process.js';
import { PipeCensus } from '../../source-agent/pipe-census.js';
import { SourceProcess } from '../../source-agent/source-process.js';
import { Stopper } from '../../source-agent/stop.js';

export function hold(pid: number, act: (frozen: FrozenProcess) => void = () => {}): void {
  using source = SourceProcess.open(pid);
  const stopper = new Stopper(source, new PipeCensus(pid));
  using frozen = stopper.freeze();
  frozen.carry(stopper.mappings());
  for (const thread of frozen.threads) {
    if (thread.tid === frozen.carrier.tid) continue;
    const batch = new CallBatch();
    batch.add('sigaltstack', syscalls.sigaltstack, 0, 0);
    frozen.runIn(thread, batch, new Uint8Array(64));
    batch.check();
  }
  act(frozen);
}
