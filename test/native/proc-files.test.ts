import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';

const test = suite('proc files');
const folder = mkdtempSync(join(tmpdir(), 'godwit-proc-files-'));
test.after(() => rmSync(folder, { recursive: true }));

test('readFiles returns contents and negative errnos in order', () => {
  const large = join(folder, 'large');
  const content = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
  writeFileSync(large, content);
  const empty = join(folder, 'empty');
  writeFileSync(empty, '');
  const loop = join(folder, 'loop');
  symlinkSync(loop, loop);
  const results = native.readFiles([
    large,
    empty,
    loop,
    folder,
    join(folder, 'none'),
    '/proc/self/comm',
    large,
  ]);
  assert.is(results.length, 7);
  const buffers = [0, 1, 5, 6].map((i) => results[i] as Buffer);
  assert.ok(buffers[0]!.equals(content));
  assert.is(buffers[1]!.length, 0);
  assert.is(buffers[2]!.toString(), readFileSync('/proc/self/comm', 'latin1'));
  assert.ok(buffers[3]!.equals(content));
  assert.is(results[2], -constants.errno.ELOOP);
  assert.is(results[3], -constants.errno.EISDIR);
  assert.is(results[4], -constants.errno.ENOENT);
});

test('readFiles reads /proc files of several pages whole', () => {
  const [maps] = native.readFiles(['/proc/self/maps']) as Buffer[];
  assert.ok(maps!.length > 8192);
  const last = (text: string) => text.trimEnd().split('\n').at(-1);
  assert.is(last(maps!.toString()), last(readFileSync('/proc/self/maps', 'latin1')));
});

test('listDescriptors agrees with the single files', () => {
  const path = join(folder, 'descriptor');
  writeFileSync(path, 'x'.repeat(5000));
  const fd = openSync(path, 'r+');
  const device = openSync('/dev/null', 'r');
  native.seek(fd, 1234n, 0);
  try {
    const entries = native.listDescriptors(process.pid);
    const numbers = entries.map((entry) => entry.fd);
    assert.equal(
      numbers,
      [...numbers].sort((a, b) => a - b),
    );
    const entry = entries.find((one) => one.fd === fd)!;
    const status = statSync(path, { bigint: true });
    assert.is(entry.path, readlinkSync(`/proc/self/fd/${fd}`));
    assert.is(entry.info, readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'));
    assert.match(entry.info, /^pos:\t1234\n/);
    assert.is(entry.device, status.dev);
    assert.is(entry.inode, status.ino);
    assert.is(entry.mode, Number(status.mode));
    assert.is(entry.size, 5000n);
    assert.is(entry.modified, status.mtimeNs);
    assert.is(entry.changed, status.ctimeNs);
    assert.is(
      entries.find((one) => one.fd === device)!.specialDevice,
      statSync('/dev/null', { bigint: true }).rdev,
    );
  } finally {
    closeSync(fd);
    closeSync(device);
  }
  assert.not.ok(native.listDescriptors(process.pid).some((entry) => entry.fd === fd && entry.path === path));
});

test('listDescriptors leaves no descriptor of its own behind', () => {
  const before = native.listDescriptors(process.pid).length;
  for (let i = 0; i < 10; i += 1) native.listDescriptors(process.pid);
  assert.is(native.listDescriptors(process.pid).length, before);
});

test('listDescriptors of no process throws', () => {
  assert.throws(
    () => native.listDescriptors(2 ** 22 + 1),
    (error: unknown) => isKernelError(error, 'ENOENT') && error.pid === 2 ** 22 + 1,
  );
});

test.run();
