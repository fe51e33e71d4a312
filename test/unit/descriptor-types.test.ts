import { constants } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { accessMode, isPipe, typeOf } from '../../source-agent/descriptor-types.js';
import type { OpenDescriptor } from '../../source-agent/inspection.js';

function descriptor(mode: number, path: string, specialDevice = 0n, flags = 0): OpenDescriptor {
  return {
    fd: 3,
    path,
    info: '',
    device: 1n,
    inode: 2n,
    mode,
    specialDevice,
    size: 0n,
    modified: 0n,
    changed: 0n,
    parsed: { position: 0n, flags, mountId: 1, inode: 2n, locks: [], extra: {} },
  };
}

/** As makedev(3) packs it. */
const device = (major: number, minor: number) =>
  (BigInt(major & ~0xfff) << 32n) |
  BigInt((major & 0xfff) << 8) |
  (BigInt(minor & ~0xff) << 12n) |
  BigInt(minor & 0xff);
const character = (major: number, minor: number) =>
  typeOf(descriptor(constants.S_IFCHR, '/dev/x', device(major, minor)));

test('what the mode says', () => {
  assert.is(typeOf(descriptor(constants.S_IFREG | 0o644, '/etc/passwd')), 'file');
  assert.is(typeOf(descriptor(constants.S_IFDIR | 0o755, '/etc')), 'directory');
  assert.is(typeOf(descriptor(constants.S_IFSOCK, 'socket:[5]')), 'socket');
  assert.is(typeOf(descriptor(constants.S_IFBLK, '/dev/sda')), 'other');
});

test('pipes have no name, fifos have one', () => {
  const [pipe, fifo] = [
    descriptor(constants.S_IFIFO, 'pipe:[7]'),
    descriptor(constants.S_IFIFO, '/run/fifo'),
  ];
  assert.equal([typeOf(pipe), isPipe(pipe)], ['pipe', true]);
  assert.equal([typeOf(fifo), isPipe(fifo)], ['fifo', false]);
});

test('five memory devices are carried, no other', () => {
  for (const minor of [3, 5, 7, 8, 9]) assert.is(character(1, minor), 'memory-device');
  for (const minor of [1, 2, 4, 11, 256 + 3]) assert.is(character(1, minor), 'device', `minor ${minor}`);
  assert.is(character(10, 3), 'device');
  assert.is(character(4097, 3), 'device');
});

test('terminals of every kind', () => {
  for (const major of [4, 5, 136, 143]) assert.is(character(major, 0), 'terminal', `major ${major}`);
  for (const major of [3, 6, 135, 144]) assert.is(character(major, 0), 'device', `major ${major}`);
});

test('of the anonymous inodes only epoll is known', () => {
  assert.is(typeOf(descriptor(0o600, 'anon_inode:[eventpoll]')), 'epoll');
  for (const name of [
    '[eventfd]',
    '[timerfd]',
    '[signalfd]',
    '[io_uring]',
    '[pidfd]',
    'inotify',
    '[userfaultfd]',
    '[new]',
  ])
    assert.is(typeOf(descriptor(0o600, `anon_inode:${name}`)), 'other', name);
});

test('access modes, and the fourth one that only ioctl may use', () => {
  const modes = [0, 1, 2, 3].map((flags) => accessMode(descriptor(0, '', 0n, flags | 0o4000)));
  assert.equal(modes, ['read', 'write', 'both', 'both']);
});

test.run();
