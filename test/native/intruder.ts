/**
 * A source agent without a target: it stops a program, works in it and lets it go, again and again, until somebody
 * kills it. `node intruder.js PID loop|hold`
 */
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { PipeCensus } from '../../source-agent/pipe-census.js';
import { SourceProcess } from '../../source-agent/source-process.js';
import { Stopper } from '../../source-agent/stop.js';

const [, , pid, manner] = process.argv;
const source = SourceProcess.open(Number(pid));
const stopper = new Stopper(source, new PipeCensus(source.pid));

console.log('ready');
do {
  using frozen = stopper.freeze();
  frozen.carry(stopper.mappings());
  const batch = new CallBatch();
  const opened = batch.add('userfaultfd', syscalls.userfaultfd, 0o2000001);
  stopper.capture(frozen, []);
  frozen.run(batch, opened);
  batch.check();
  if (manner === 'hold') {
    // With the stub in place, a descriptor open in the program, and all of its threads held.
    console.log('holding');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  }
} while (manner === 'loop');
