import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Needs } from '../../shared/protocol/messages.js';
import { groupRoom } from '../../target-agent/cgroup-room.js';
import { compareNeeds, type Supply } from '../../target-agent/shortages.js';

const gibibyte = 2 ** 30;
const needs: Needs = {
  privateBytes: gibibyte,
  accountedBytes: 2 * gibibyte,
  largestAccountedBytes: gibibyte,
  mappings: 100,
  lowestAddress: 0x400000n,
};
const supply: Supply = {
  memoryBytes: 2 * gibibyte,
  totalBytes: 4 * gibibyte,
  swapBytes: 0,
  overcommit: 0,
  committableBytes: gibibyte,
  maxMapCount: 65530,
  mmapMinAddress: 65536n,
  pidMax: 32768,
  tasks: 1000,
};
const found = (need: Partial<Needs>, has: Partial<Supply>, ids = [100, 101]) =>
  compareNeeds({ ...needs, ...need }, ids, { ...supply, ...has }).map(
    ({ code, object }) => `${code} ${object}`,
  );

test('enough of everything', () => assert.equal(found({}, {}), []));

const table: [string, Partial<Needs>, Partial<Supply>, string[]][] = [
  ['memory', {}, { memoryBytes: gibibyte }, ['no-memory memory']],
  ['just enough memory', { privateBytes: gibibyte - (64 << 20) }, { memoryBytes: gibibyte }, []],
  ['commit charge, strict', {}, { overcommit: 2 }, ['no-memory memory']],
  ['commit charge, strict, enough', {}, { overcommit: 2, committableBytes: 2 * gibibyte }, []],
  ['commit charge, where nobody counts', {}, { overcommit: 1, totalBytes: 1 }, []],
  ['one huge mapping', { largestAccountedBytes: 5 * gibibyte }, {}, ['no-memory memory']],
  ['one huge mapping, with swap', { largestAccountedBytes: 5 * gibibyte }, { swapBytes: gibibyte }, []],
  ['mappings', { mappings: 65523 }, {}, ['target-limit vm.max_map_count']],
  ['just enough mappings', { mappings: 65522 }, {}, []],
  ['low addresses', { lowestAddress: 0x1000n }, {}, ['target-limit vm.mmap_min_addr']],
  ['threads', {}, { tasks: 3 }, ['target-limit threads']],
  ['just enough threads', {}, { tasks: 4 }, []],
  ['ids', {}, { pidMax: 101 }, ['target-limit kernel.pid_max']],
  ['just enough ids', {}, { pidMax: 102 }, []],
];
for (const [what, need, has, expected] of table) test(what, () => assert.equal(found(need, has), expected));

test('all at once', () => {
  assert.is(found({ mappings: 1e6, lowestAddress: 0n }, { memoryBytes: 0, pidMax: 1, tasks: 0 }).length, 5);
});

/** A file system of groups. */
const groups = (files: Record<string, string>) => (file: string) => files[file] ?? null;

test('groups of version 2: the least on the way up counts, page cache is given up', () => {
  const read = groups({
    '/sys/fs/cgroup/a/b/memory.max': 'max\n',
    '/sys/fs/cgroup/a/b/memory.current': '10\n',
    '/sys/fs/cgroup/a/memory.max': '1000\n',
    '/sys/fs/cgroup/a/memory.current': '900\n',
    '/sys/fs/cgroup/a/memory.stat': 'anon 1\ninactive_file 300\nactive_file 50\n',
    '/sys/fs/cgroup/a/b/pids.max': '20\n',
    '/sys/fs/cgroup/a/b/pids.current': '13\n',
  });
  assert.equal(groupRoom('0::/a/b\n', read), { memoryBytes: 450, tasks: 7 });
});

test('groups of version 1, each controller at its own place', () => {
  const read = groups({
    '/sys/fs/cgroup/memory/m/memory.limit_in_bytes': '1000',
    '/sys/fs/cgroup/memory/m/memory.usage_in_bytes': '1400',
    '/sys/fs/cgroup/memory/m/memory.stat': 'inactive_file 9\ntotal_inactive_file 5\n',
    '/sys/fs/cgroup/pids/p/pids.max': 'max',
    '/sys/fs/cgroup/pids/p/pids.current': '13',
    '/sys/fs/cgroup/pids/pids.max': '14',
    '/sys/fs/cgroup/pids/pids.current': '13',
  });
  const membership = '8:pids:/p\n4:cpu,memory:/m\n1:name=systemd:/p\n0::/\n';
  assert.equal(groupRoom(membership, read), { memoryBytes: 5, tasks: 1 });
});

test('no groups, no limits', () => {
  assert.equal(groupRoom('0::/\n', groups({})), { memoryBytes: Infinity, tasks: Infinity });
});

test.run();
