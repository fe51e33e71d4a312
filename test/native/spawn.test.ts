import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { native, skeletonProgram } from '../../native/index.js';
import { end, endAll, errorOf, freePid, spawn, statFields, statusField, zombies } from './children.js';

const test = suite('spawn');

const SCHED_OTHER = 0;
const SCHED_BATCH = 3;
const KCMP_FILE = 0;

const folder = mkdtempSync(join(tmpdir(), 'godwit-spawn-'));

test.after.each(endAll);
test.after(() => rmSync(folder, { recursive: true }));

test('spawn gives the chosen pid, and EEXIST where it is taken', async () => {
  const wanted = freePid();
  assert.is(spawn({ pids: [wanted] }), wanted);
  assert.is(readlinkSync(`/proc/${wanted}/exe`), skeletonProgram);
  assert.is(Number(statFields(wanted)[1]), process.pid);
  const error = errorOf(() => spawn({ pids: [wanted] }));
  assert.is(error.code, 'EEXIST');
  assert.is(error.syscall, 'clone3');
  assert.is(error.pid, wanted);
  // The id is free again as soon as the process is collected.
  await end(wanted);
  assert.is(spawn({ pids: [wanted] }), wanted);
});

test('spawn chooses the pid in each pid namespace, innermost first', () => {
  const outer = freePid();
  // PID 1 of a new namespace, which still sees the outer one's /proc.
  const source = `
    import { readFileSync } from 'node:fs';
    import { native, skeletonProgram } from ${JSON.stringify(new URL('../../native/index.js', import.meta.url).href)};
    const options = { program: skeletonProgram, descriptors: [], newSession: false };
    const pid = native.spawn({ ...options, pids: [50, ${outer}] });
    console.log(pid, readFileSync('/proc/${outer}/status', 'latin1').match(/^NSpid:.*$/m)[0]);
    process.exit();`;
  const node = [process.execPath, '--input-type=module', '-e', source];
  const output = execFileSync('unshare', ['--pid', '--fork', ...node], { encoding: 'utf8' });
  assert.is(output, `50 NSpid:\t${outer}\t50\n`);
});

test('spawn gives any pid when none is chosen', () => {
  const one = spawn();
  const other = spawn();
  assert.ok(one > 0 && other > 0 && one !== other);
});

test('spawn moves descriptors whose numbers overlap and closes the rest', () => {
  const files = ['a', 'b', 'c'].map((name) => openSync(join(folder, name), 'w'));
  const [a, b, c] = files as [number, number, number];
  try {
    const moves: [number, number][] = [
      [a, b],
      [b, c],
      [c, a],
      [a, 0],
      [c, 300],
    ];
    const pid = spawn({ descriptors: moves });
    const entries = native.listDescriptors(pid);
    assert.equal(
      entries.map((entry) => entry.fd),
      moves.map(([, theirs]) => theirs).sort((x, y) => x - y),
    );
    for (const [ours, theirs] of moves) {
      assert.is(native.kcmp(process.pid, pid, KCMP_FILE, ours, theirs), 0, `${ours} as ${theirs}`);
    }
    // Free numbers, which a descriptor on its way must not take either.
    const free = openSync('/dev/null', 'r');
    closeSync(free);
    const fresh = spawn({
      descriptors: [
        [a, free + 1],
        [b, free],
      ],
    });
    assert.is(native.kcmp(process.pid, fresh, KCMP_FILE, a, free + 1), 0);
    assert.is(native.kcmp(process.pid, fresh, KCMP_FILE, b, free), 0);
    assert.equal(native.listDescriptors(spawn()), []);
  } finally {
    files.forEach((fd) => {
      closeSync(fd);
    });
  }
});

test('spawn reports what failed in the child, and leaves no zombie', () => {
  const missing = errorOf(() => spawn({ program: join(folder, 'none') }));
  assert.is(missing.code, 'ENOENT');
  assert.is(missing.syscall, 'execve');
  const closed = errorOf(() => spawn({ descriptors: [[1_000_000, 0]] }));
  assert.is(closed.code, 'EBADF');
  assert.is(closed.syscall, 'fcntl(F_DUPFD_CLOEXEC)');
  assert.is(errorOf(() => spawn({ descriptors: [[0, -1]] })).code, 'EBADF');
  assert.equal(zombies(), []);
});

test('spawn makes a session only when asked', () => {
  const alone = spawn({ newSession: true });
  assert.is(Number(statFields(alone)[3]), alone);
  const along = spawn();
  assert.equal(statFields(along).slice(2, 4), statFields(process.pid).slice(2, 4));
});

test("nothing of the agent's signals and scheduling is inherited", () => {
  // Node ignores SIGPIPE itself.
  assert.is.not(BigInt(`0x${statusField(process.pid, 'SigIgn')}`), 0n);
  const own = {
    scheduling: native.getScheduling(0),
    affinity: native.getAffinity(0),
    io: native.getIoPriority(0),
  };
  const first = Uint8Array.from(own.affinity, () => 0);
  const lowest = own.affinity.findIndex((byte) => byte !== 0);
  first[lowest] = own.affinity[lowest]! & -own.affinity[lowest]!;
  native.setAffinity(0, first);
  native.setScheduling(0, { ...own.scheduling, policy: SCHED_BATCH, nice: 5 });
  native.setIoPriority(0, (2 << 13) | 7);
  let pid: number;
  try {
    pid = spawn();
  } finally {
    native.setIoPriority(0, own.io);
    native.setScheduling(0, own.scheduling);
    native.setAffinity(0, own.affinity);
  }
  for (const name of ['SigIgn', 'SigCgt', 'SigBlk']) assert.match(statusField(pid, name), /^0+$/);
  const { policy, nice } = native.getScheduling(pid);
  assert.equal({ policy, nice }, { policy: SCHED_OTHER, nice: 0 });
  // ioprio_get: class none, or best effort 4 where the kernel derives it from nice 0.
  assert.ok([0, 4, (2 << 13) | 4].includes(native.getIoPriority(pid)));
  for (const [i, byte] of own.affinity.entries()) assert.is(native.getAffinity(pid)[i]! & byte, byte);
  assert.is(readFileSync(`/proc/${pid}/environ`).length, 0);
  assert.is(readFileSync(`/proc/${pid}/cmdline`, 'latin1'), `${skeletonProgram}\0`);
  // The agent's own mask is what it was.
  assert.match(statusField(process.pid, 'SigBlk'), /^0+$/);
});

test.run();
