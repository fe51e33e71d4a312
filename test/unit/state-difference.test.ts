import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { kindsInOrder } from '../../shared/kinds.js';
import { difference } from '../../source-agent/state-difference.js';
import { sampleState } from './support/state.js';

test('equal states have no difference, whichever objects hold them', () => {
  assert.equal(difference(sampleState(), sampleState()), {});
});

test('each kind travels when it changed, whole and alone', () => {
  const changed = sampleState();
  changed.process.dumpable = 0;
  changed.hostname = null;
  changed.files.descriptors[0]!.closeOnExec = true;
  changed.pipes[0]!.content[4]! ^= 1;
  changed.directories.umask = 0o077;
  changed.memory.fields.brk += 4096n;
  changed.limits[15]!.hard -= 1n;
  changed.threads[0]!.registers[215]! ^= 1;
  changed.signals.pending.push(new Uint8Array(128));
  changed.timers.length = 0;
  changed.credentials.noNewPrivileges = false;
  for (const kind of kindsInOrder()) {
    const now = { ...sampleState(), [kind]: changed[kind] };
    assert.equal(difference(sampleState(), now), { [kind]: changed[kind] });
  }
});

test('bytes in a Buffer and bytes in an array are the same bytes', () => {
  const other = sampleState();
  other.pipes[0]!.content = Uint8Array.from(other.pipes[0]!.content);
  assert.equal(difference(sampleState(), other), {});
});

test.run();
