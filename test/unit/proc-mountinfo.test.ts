import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseMountinfo } from '../../shared/proc/mountinfo.js';

// Recorded on Linux 6.18, with mounts of odd names, an empty source, and one of a namespace.
const recorded = String.raw`
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resv_strict
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
63 43 0:39 / /tmp/pp\040x/mp\040with\040space rw,relatime shared:1 - tmpfs  rw
64 63 0:40 / /tmp/pp\040x/mp\040with\040space/a#b\134c rw,relatime unbindable - tmpfs so\040urce\043x rw
65 63 0:39 /t\011\012q /tmp/pp\040x/mp\040with\040space/t\011\012q rw,relatime - tmpfs  rw
66 43 0:4 net:[4026531833] /tmp/nsx rw - nsfs nsfs rw
`.slice(1);

test('every field', () => {
  assert.equal(parseMountinfo(recorded)[0], {
    id: 27,
    parent: 1,
    device: '254:0',
    root: '/',
    mountPoint: '/',
    options: ['rw', 'relatime'],
    propagation: [],
    fsType: 'ext4',
    source: '/dev/vda',
    superOptions: 'rw,discard,resv_strict',
  });
});

test('blanks, tabs, newlines, backslashes and hashes in names', () => {
  const [, , blank, odd, both] = parseMountinfo(recorded);
  assert.is(blank!.mountPoint, '/tmp/pp x/mp with space');
  assert.is(odd!.mountPoint, '/tmp/pp x/mp with space/a#b\\c');
  assert.is(odd!.source, 'so urce#x');
  assert.equal([both!.root, both!.mountPoint], ['/t\t\nq', '/tmp/pp x/mp with space/t\t\nq']);
});

test('an escaped backslash before digits is no second escape', () => {
  const [mount] = parseMountinfo(String.raw`5 1 0:1 / /a\134040b rw - tmpfs x rw`);
  assert.is(mount!.mountPoint, '/a\\040b');
});

test('an empty source, propagation, the mount of a namespace', () => {
  const [, , shared, unbindable, , namespace] = parseMountinfo(recorded);
  assert.equal([shared!.source, shared!.superOptions], ['', 'rw']);
  assert.equal(shared!.propagation, ['shared:1']);
  assert.equal(unbindable!.propagation, ['unbindable']);
  assert.is(namespace!.root, 'net:[4026531833]');
  const [slave] = parseMountinfo(
    '5 1 8:1 / /a rw shared:7 master:2 propagate_from:3 - ext4 /dev/sda1 rw a b\n',
  );
  assert.equal(slave!.propagation, ['shared:7', 'master:2', 'propagate_from:3']);
  assert.is(slave!.superOptions, 'rw a b');
});

test('odd lines are refused; no text is no mount', () => {
  assert.equal(parseMountinfo(''), []);
  for (const line of [
    '27 1 254:0 / / rw,relatime ext4 /dev/vda rw',
    '27 1 254:0 / / rw - ext4 /dev/vda',
    'x 1 254:0 / / rw - ext4 /dev/vda rw',
    '27 x 254:0 / / rw - ext4 /dev/vda rw',
    '27 1 fe:00 / / rw - ext4 /dev/vda rw',
    '27 1',
  ])
    assert.throws(() => parseMountinfo(`${line}\n`), /mountinfo/, line);
});

test.run();
