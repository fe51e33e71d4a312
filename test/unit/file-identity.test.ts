import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  digestOf,
  formFor,
  identityOf,
  isSameInode,
  isUnchanged,
  stampOf,
} from '../../shared/file-identity.js';

let folder = '';
const at = (name: string) => join(folder, name);

test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-identity-'));
});
test.after(() => rmSync(folder, { recursive: true }));

test('what a stamp says', () => {
  writeFileSync(at('a'), 'abc');
  const stamp = stampOf(at('a'))!;
  assert.equal([stamp.size, stamp.directory, stamp.regular], [3n, false, true]);
  assert.equal([stampOf(folder)!.directory, stampOf(folder)!.regular], [true, false]);
  assert.equal([stampOf('/dev/null')!.directory, stampOf('/dev/null')!.regular], [false, false]);
  assert.is(stampOf(at('nothing')), null);
  symlinkSync('a', at('link'));
  assert.ok(isSameInode(stampOf(at('link'))!, stamp));
});

test('writing changes a file, its inode stays', () => {
  writeFileSync(at('b'), 'abc');
  const before = stampOf(at('b'))!;
  assert.ok(isUnchanged(before, stampOf(at('b'))!));
  writeFileSync(at('b'), 'abcd');
  const after = stampOf(at('b'))!;
  assert.equal([isSameInode(before, after), isUnchanged(before, after)], [true, false]);
});

test('every part of the stamp counts: a file set back to its old time and size has changed', () => {
  const stamp = { device: 1n, inode: 2n, size: 3n, modified: 4n, changed: 5n };
  assert.ok(isUnchanged(stamp, { ...stamp }));
  for (const key of ['device', 'inode', 'size', 'modified', 'changed'] as const)
    assert.not.ok(isUnchanged(stamp, { ...stamp, [key]: 9n }), key);
  writeFileSync(at('c'), 'abc');
  const before = stampOf(at('c'))!;
  writeFileSync(at('c'), 'xyz');
  utimesSync(at('c'), Number(before.modified / 1000000000n), Number(before.modified / 1000000000n));
  assert.not.ok(isUnchanged(before, stampOf(at('c'))!));
});

test('digests', async () => {
  writeFileSync(at('d'), 'abc');
  assert.is(await digestOf(at('d')), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  writeFileSync(at('e'), Buffer.alloc(3 << 20));
  assert.is((await digestOf(at('e')))!.length, 64);
  assert.is(await digestOf(at('nothing')), null);
  assert.is(await digestOf(folder), null);
  assert.is(await digestOf('/dev/zero'), null, 'it would never end');
  execFileSync('mkfifo', [at('fifo')]);
  assert.is(await digestOf(at('fifo')), null, 'it would wait for a writer');
});

test('what makes its content up is not read: it may wait for ever, or do something', async () => {
  assert.is(await digestOf('/proc/kmsg'), null);
  assert.is(await digestOf('/sys/kernel/uevent_seqnum'), null);
});

test('a fifo is not even opened: whoever waits for its other end waits on', async () => {
  execFileSync('mkfifo', [at('waited-for')]);
  const writer = spawn('sh', ['-c', 'echo > "$0"; echo opened', at('waited-for')]);
  const opened = once(writer.stdout, 'data').then(() => 'opened');
  try {
    for (let i = 0; i < 20; i += 1) {
      assert.is(await digestOf(at('waited-for')), null);
      await sleep(10);
    }
    assert.is(await Promise.race([opened, sleep(100, 'waits')]), 'waits');
  } finally {
    writer.kill('SIGKILL');
  }
});

test('what is hashed ends where the file ended when it was opened', async () => {
  writeFileSync(at('growing'), Buffer.alloc(8 << 20));
  const writer = setInterval(() => appendFileSync(at('growing'), Buffer.alloc(1 << 20)), 1);
  try {
    assert.is((await digestOf(at('growing')))!.length, 64);
  } finally {
    clearInterval(writer);
  }
});

test('the form: whole content, or the build id of large programs', () => {
  const large = 17n << 20n;
  assert.is(formFor(large, true, false), 'build-id');
  assert.is(formFor(large, true, true), 'sha256', '--compare-contents');
  assert.is(formFor(large, false, false), 'sha256', 'data');
  assert.is(formFor(16n << 20n, true, false), 'sha256', 'small');
});

test('identities: another build of the same size and time is another one', async () => {
  const build = (name: string, number: number) => {
    writeFileSync(at('n.c'), `int n(void) { return ${number}; }`);
    execFileSync('cc', ['-shared', '-fPIC', '-Wl,--build-id', '-o', at(name), at('n.c')]);
    utimesSync(at(name), 1000, 1000);
    return stampOf(at(name))!;
  };
  const [one, two] = [build('one.so', 1), build('two.so', 2)];
  assert.equal([one.size, one.modified], [two.size, two.modified], 'the test wants them alike');
  const identities = await Promise.all(
    ['one.so', 'two.so'].flatMap((name) => [
      identityOf(at(name), 'build-id'),
      identityOf(at(name), 'sha256'),
    ]),
  );
  assert.match(identities[0]!, /^build-id:[0-9a-f]{40}$/);
  assert.match(identities[1]!, /^sha256:[0-9a-f]{64}$/);
  assert.is(new Set(identities).size, 4);
});

test('without a build id the whole content counts', async () => {
  writeFileSync(at('plain'), 'abc');
  assert.is(await identityOf(at('plain'), 'build-id'), `sha256:${await digestOf(at('plain'))}`);
  assert.is(await identityOf(at('nothing'), 'build-id'), null);
});

test.run();
