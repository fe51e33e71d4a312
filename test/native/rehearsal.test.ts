import { readdirSync, readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PipeCensus } from '../../source-agent/pipe-census.js';
import { Rehearsal } from '../../source-agent/rehearsal.js';
import { chooseTracker } from '../../source-agent/tracker/choice.js';
import type { TrackerName } from '../../source-agent/tracker/index.js';
import { probeTracker } from '../../source-agent/tracker/probes.js';
import { collectGarbage } from '../../source-agent/warm-up.js';

const descriptors = () => readdirSync('/proc/self/fd').length;

function rehearse(tracker: TrackerName): void {
  using rehearsal = Rehearsal.begin(new PipeCensus(process.pid), tracker);
  rehearsal.perform(3);
}

test('a rehearsal goes through, again and again, and leaves neither a process nor a descriptor', async () => {
  const { tracker } = chooseTracker('auto', probeTracker);
  rehearse(tracker);
  collectGarbage();
  await turn();
  const before = descriptors();
  for (let i = 0; i < 10; i += 1) rehearse(tracker);
  assert.is(readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim(), '');
  // The socket to the stub of a process that was ended goes with its object.
  collectGarbage();
  await turn();
  assert.is(descriptors(), before);
});

test.run();
