import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { parseDescriptorInfo } from '../../shared/proc/descriptor-info.js';

// All recorded on Linux 6.18.
const general = (flags: string) => `pos:\t0\nflags:\t${flags}\nmnt_id:\t17\nino:\t1038\n`;
const lockedFile = `pos:	5
flags:	02100002
mnt_id:	27
ino:	2146513
lock:	1: FLOCK  ADVISORY  WRITE 5744 fe:00:2146513 0 EOF
lock:	2: POSIX  ADVISORY  READ 5744 fe:00:2146513 5 14
`;
const epoll = `${general('02000002')}tfd:       18 events:       1c data:     7fe400000012  pos:0 ino:2349 sdev:f
tfd:       17 events:       19 data:     7fe400000011  pos:0 ino:2349 sdev:f
`;
const timer = `${general('02')}clockid: 1
ticks: 0
settime flags: 00
it_value: (0, 0)
it_interval: (0, 0)
`;
const inotify = `${general('00')}inotify wd:1 ino:3f7e8 sdev:fe00000 mask:2 ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:e8f7030000000000
`;

function refused(text: string): void {
  assert.throws(
    () => parseDescriptorInfo(text),
    (error: unknown) => error instanceof MigrationError && error.code === 'unknown-state',
  );
}

test('a file with locks', () => {
  assert.equal(parseDescriptorInfo(lockedFile), {
    position: 5n,
    flags: 0o2100002,
    mountId: 27,
    inode: 2146513n,
    locks: [
      '1: FLOCK  ADVISORY  WRITE 5744 fe:00:2146513 0 EOF',
      '2: POSIX  ADVISORY  READ 5744 fe:00:2146513 5 14',
    ],
    extra: {},
  });
});

test('several lines of one name stay in order', () => {
  assert.equal(parseDescriptorInfo(epoll).extra, {
    tfd: [
      '18 events:       1c data:     7fe400000012  pos:0 ino:2349 sdev:f',
      '17 events:       19 data:     7fe400000011  pos:0 ino:2349 sdev:f',
    ],
  });
});

test('names with blanks', () => {
  assert.equal(parseDescriptorInfo(timer).extra, {
    clockid: ['1'],
    ticks: ['0'],
    'settime flags': ['00'],
    it_value: ['(0, 0)'],
    it_interval: ['(0, 0)'],
  });
  assert.equal(Object.keys(parseDescriptorInfo(inotify).extra), ['inotify wd']);
});

test('a pidfd adds its own capitals', () => {
  const info = parseDescriptorInfo(`${general('02000002')}Pid:\t5744\nNSpid:\t5744\t1\n`);
  assert.equal(info.extra, { Pid: ['5744'], NSpid: ['5744\t1'] });
});

test('a position behind the largest double', () => {
  const text = general('0100000').replace('pos:\t0', 'pos:\t9223372036854775807');
  assert.is(parseDescriptorInfo(text).position, 2n ** 63n - 1n);
  assert.is(parseDescriptorInfo(text.replace('pos:\t9', 'pos:\t-9')).position, 1n - 2n ** 63n);
});

test('a kernel before 5.14 names no inode', () => {
  assert.is(parseDescriptorInfo('pos:\t0\nflags:\t02\nmnt_id:\t9\n').inode, null);
});

test('what is said twice or without a colon is never lost', () => {
  const { extra, flags } = parseDescriptorInfo(
    `${general('02')}flags:\t07\nPollList:\n  op=1, task_works=0\n`,
  );
  assert.is(flags, 2);
  assert.equal(extra, { flags: ['07'], PollList: [''], 'op=1, task_works=0': [''] });
});

test('names that every object has are names like others', () => {
  const { extra } = parseDescriptorInfo(`${general('02')}constructor: 1\n__proto__: 2\n`);
  assert.equal(Object.entries(extra), [
    ['constructor', ['1']],
    ['__proto__', ['2']],
  ]);
});

test('without the general fields, or with odd numbers, it is refused', () => {
  refused('');
  refused('flags:\t02\nmnt_id:\t9\n');
  refused('pos:\t0\nmnt_id:\t9\n');
  refused('pos:\t0\nflags:\t02\n');
  refused(general('09'));
  refused(general('0x2'));
  refused(general('02').replace('pos:\t0', 'pos:\t1.5'));
});

test.run();
