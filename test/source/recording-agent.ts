/**
 * An agent that holds a program and has recorded a decision when it is killed:
 * `node recording-agent.js PID DIRECTORY freezer|signal open|commit|abort`; it says so when it has.
 */
import { openRecord } from '../../shared/commit/index.js';
import { Journal } from '../../shared/journal.js';
import { prepareHold, StopHold } from '../../source-agent/hold.js';
import { Holder } from '../../source-agent/holder.js';
import { identify } from '../../source-agent/host-process.js';
import { PipeCensus } from '../../source-agent/pipe-census.js';
import { SourceProcess } from '../../source-agent/source-process.js';
import { Stopper } from '../../source-agent/stop.js';

const [pid, directory, way] = [Number(process.argv[2]), process.argv[3]!, process.argv[4]!];
const decision = process.argv[5] as 'open' | 'commit' | 'abort';
const migration = '00112233445566aa';
const journal = Journal.create(directory, {
  ...identify(pid),
  migration,
  role: 'source',
  peer: '127.0.0.1:1',
  createdMs: Date.now(),
});
const holder = Holder.start(journal, directory);
const hold = way === 'freezer' ? prepareHold(pid, migration) : new StopHold(pid);
if (way === 'freezer' && hold.why !== null) throw new Error(hold.why);
await holder.take(hold);
const stopper = new Stopper(SourceProcess.open(pid), new PipeCensus(pid));
const frozen = stopper.freeze();
frozen.carry(stopper.mappings());
frozen.holdAll();
holder.hold();
holder.onThawed = () => console.log('thawed');
await journal.record({ ...openRecord, decision, epoch: 1 });
console.log(`recorded ${journal.identity.migration}`);
setInterval(() => undefined, 1000);
