import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { canReadDirectly, isUndisturbed, parseReadBytes } from '../../source-agent/direct-reads.js';

const quiet = { open: false, readBytes: 4096 };

test('a scan counts when nothing can have been read past the page cache meanwhile', () => {
  assert.ok(isUndisturbed(quiet, quiet));
  assert.not.ok(isUndisturbed({ ...quiet, open: true }, quiet));
  assert.not.ok(isUndisturbed(quiet, { ...quiet, open: true }));
  assert.not.ok(isUndisturbed(quiet, { ...quiet, readBytes: 8192 }));
});

test('a kernel that does not count is not trusted', () => {
  const silent = { open: false, readBytes: null };
  assert.not.ok(isUndisturbed(silent, silent));
});

test('which descriptors read past the page cache', () => {
  const direct = 0o40000;
  assert.ok(canReadDirectly(direct));
  assert.ok(canReadDirectly(direct | 2));
  assert.not.ok(canReadDirectly(direct | 1), 'write only');
  assert.not.ok(canReadDirectly(0o100002), 'without O_DIRECT');
});

test('bytes read from devices', () => {
  assert.is(parseReadBytes('rchar: 6976\nwchar: 0\nread_bytes: 12288\nwrite_bytes: 4\n'), 12288);
  assert.is(parseReadBytes('rchar: 6976\n'), null);
});

test.run();
