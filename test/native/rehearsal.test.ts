import { readdirSync, readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PipeCensus } from '../../source-agent/pipe-census.js';
import { Rehearsal } from '../../source-agent/rehearsal.js';
import { collectGarbage } from '../../source-agent/warm-up.js';

const descriptors = () => readdirSync('/proc/self/fd').length;

function rehearse(): void {
  using rehearsal = Rehearsal.begin(new PipeCensus(process.pid));
  rehearsal.perform(3);
}

test('a rehearsal goes through, again and again, and leaves neither a process nor a descriptor', async () => {
  rehearse();
  collectGarbage();
  await turn();
  const before = descriptors();
  for (let i = 0; i < 10; i += 1) rehearse();
  assert.is(readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim(), '');
  // The socket to the stub of a process that was ended goes with its object.
  collectGarbage();
  await turn();
  assert.is(descriptors(), before);
});

test.run();
