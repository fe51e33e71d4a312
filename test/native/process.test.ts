import { type ChildProcess, execFileSync, spawn as spawnNode } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ChildStatus, native, type SpawnOptions, skeletonProgram } from '../../native/index.js';
import { isKernelError, KernelError } from '../../shared/errors.js';

const test = suite('process');

const SIGKILL = 9;
const SIGTERM = 15;
const SCHED_OTHER = 0;
const SCHED_BATCH = 3;
const SCHED_FIFO = 1;
const RLIMIT_NOFILE = 7;
const KCMP_FILE = 0;
const PR_SET_NAME = 15;
const PR_GET_TIMERSLACK = 30;
const infinite = 2n ** 64n - 1n;

const folder = mkdtempSync(join(tmpdir(), 'godwit-process-'));
const born = new Set<number>();

function spawn(options: Partial<SpawnOptions> = {}): number {
  const pid = native.spawn({
    program: skeletonProgram,
    pids: [],
    descriptors: [],
    newSession: false,
    ...options,
  });
  born.add(pid);
  return pid;
}

/** A program of one line of shell. */
let scripts = 0;
function script(line: string): string {
  scripts += 1;
  const path = join(folder, `script-${scripts}`);
  writeFileSync(path, `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  return path;
}

function ended(pid: number): Promise<ChildStatus> {
  return new Promise((resolve) => {
    native.onChildExit(pid, resolve);
  });
}

async function end(pid: number): Promise<ChildStatus> {
  native.kill(pid, SIGKILL);
  const status = await ended(pid);
  born.delete(pid);
  return status;
}

function freePid(): number {
  let pid = Number(readFileSync('/proc/sys/kernel/pid_max', 'latin1')) - 100;
  while (existsSync(`/proc/${pid}`)) pid -= 1;
  return pid;
}

function statusField(pid: number, name: string): string {
  const line = readFileSync(`/proc/${pid}/status`, 'latin1').match(new RegExp(`^${name}:\\s*(.*)$`, 'm'));
  return line![1]!;
}

/** Fields of /proc/PID/stat after the name: [0] is the state, field 3 of proc(5). */
function statFields(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}

async function asleep(pid: number): Promise<void> {
  while (statFields(pid)[0] !== 'S') await delay(1);
}

function errorOf(action: () => unknown): KernelError {
  try {
    action();
  } catch (error) {
    if (error instanceof KernelError) return error;
    throw error;
  }
  throw new Error('no error');
}

function zombies(): number[] {
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1')
    .split(' ')
    .filter(Boolean);
  return children.map(Number).filter((pid) => statFields(pid)[0] === 'Z');
}

test.after.each(async () => {
  for (const pid of born) await end(pid);
  assert.equal(zombies(), []);
});
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
    const none = spawn();
    assert.equal(native.listDescriptors(none), []);
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

test('onChildExit tells an exit code and a signal, and collects the child', async () => {
  const pid = spawn({ program: script('exit 7') });
  assert.equal(await ended(pid), { pid, code: 7, signal: null, coreDumped: false });
  born.delete(pid);
  assert.not.ok(existsSync(`/proc/${pid}`));
  const killed = spawn();
  native.kill(killed, SIGTERM);
  assert.equal(await ended(killed), { pid: killed, code: null, signal: SIGTERM, coreDumped: false });
  born.delete(killed);
  assert.is(errorOf(() => native.onChildExit(killed, () => {})).code, 'ESRCH');
});

test('onChildExit of a process that is not our child tells no status', async () => {
  const parent: ChildProcess = spawnNode('/bin/sh', ['-c', '/bin/sleep 60 & echo $!; wait'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [line] = (await once(parent.stdout!, 'data')) as [Buffer];
  const pid = Number(line.toString());
  const status = ended(pid);
  native.kill(pid, SIGKILL);
  assert.equal(await status, { pid, code: null, signal: null, coreDumped: false });
  // The same for a child that Node itself waits for, which still learns its exit code.
  await once(parent, 'exit');
  assert.is(parent.exitCode, 0);
});

test('a watch that is ended does not call back', async () => {
  const pid = spawn();
  let calls = 0;
  const stop = native.onChildExit(pid, () => {
    calls += 1;
  });
  stop();
  stop();
  await end(pid);
  assert.is(calls, 0);
});

test('an error thrown in the callback is an uncaught exception, once', async () => {
  const pid = spawn();
  const caught = once(process, 'uncaughtException');
  native.onChildExit(pid, () => {
    throw new Error('from the callback');
  });
  native.kill(pid, SIGKILL);
  const [error] = (await caught) as [Error];
  born.delete(pid);
  assert.is(error.message, 'from the callback');
});

test('microtasks of the callback run before the loop goes on', async () => {
  const pid = spawn();
  const order: string[] = [];
  const done = new Promise<void>((resolve) => {
    native.onChildExit(pid, () => {
      void Promise.resolve().then(() => order.push('microtask'));
      process.nextTick(() => order.push('tick'));
      setImmediate(() => {
        order.push('immediate');
        resolve();
      });
    });
  });
  native.kill(pid, SIGKILL);
  await done;
  born.delete(pid);
  assert.equal(order, ['tick', 'microtask', 'immediate']);
});

test('a worker that ends with a watch still armed ends cleanly', async () => {
  const pid = spawn();
  const source = `
    import { native } from ${JSON.stringify(new URL('../../native/index.js', import.meta.url).href)};
    native.onChildExit(${pid}, () => {});
    process.exit(3);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`));
  const [code] = (await once(worker, 'exit')) as [number];
  assert.is(code, 3);
});

test('a child that another process traces is collected once its tracer lets go', async () => {
  const pid = spawn();
  const seize = `import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(0x4206, ${pid}, None, None), flush=True)
sys.stdin.read()`;
  const tracer = spawnNode('python3', ['-c', seize], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await once(tracer.stdout!, 'data')) as [Buffer];
  assert.is(line.toString().trim(), '0');
  let status: ChildStatus | null = null;
  const end = ended(pid).then((it) => {
    status = it;
  });
  native.kill(pid, SIGKILL);
  while (statFields(pid)[0] !== 'Z') await delay(1);
  await delay(50);
  assert.is(status, null);
  tracer.stdin!.end();
  await end;
  born.delete(pid);
  assert.equal(status, { pid, code: null, signal: SIGKILL, coreDumped: false });
});

test('reap returns null while the child lives and its status once', async () => {
  const pid = spawn();
  assert.is(native.reap(pid), null);
  native.kill(pid, SIGKILL);
  let status = native.reap(pid);
  while (status === null) {
    await delay(1);
    status = native.reap(pid);
  }
  born.delete(pid);
  assert.equal(status, { pid, code: null, signal: SIGKILL, coreDumped: false });
  assert.is(errorOf(() => native.reap(pid)).code, 'ECHILD');
});

test('kill tells what is missing', () => {
  native.kill(process.pid, 0);
  const error = errorOf(() => native.kill(2 ** 22 + 1, 0));
  assert.is(error.code, 'ESRCH');
  assert.is(error.pid, 2 ** 22 + 1);
});

test('limits are read and lowered', () => {
  const pid = spawn();
  const [, hard] = native.getLimit(pid, RLIMIT_NOFILE);
  native.setLimit(pid, RLIMIT_NOFILE, 77n, hard);
  assert.equal(native.getLimit(pid, RLIMIT_NOFILE), [77n, hard]);
  assert.match(readFileSync(`/proc/${pid}/limits`, 'latin1'), /^Max open files\s+77 /m);
  const [, cpu] = native.getLimit(process.pid, 0);
  assert.ok(cpu === infinite || cpu < 2n ** 63n);
  assert.ok(
    isKernelError(
      errorOf(() => native.setLimit(pid, RLIMIT_NOFILE, 78n, 77n)),
      'EINVAL',
    ),
  );
});

test('scheduling attributes come back as they were set', () => {
  const pid = spawn();
  const ordinary = native.getScheduling(pid);
  native.setScheduling(pid, { ...ordinary, policy: SCHED_BATCH, nice: 7, flags: 1n });
  const batch = native.getScheduling(pid);
  assert.equal([batch.policy, batch.nice, batch.flags], [SCHED_BATCH, 7, 1n]);
  // A real-time task keeps the nice value that it will have afterwards.
  native.setScheduling(pid, { ...ordinary, policy: SCHED_FIFO, priority: 3, nice: 4, runtime: 0n });
  const fifo = native.getScheduling(pid);
  assert.equal([fifo.policy, fifo.priority, fifo.nice], [SCHED_FIFO, 3, 4]);
  assert.is(errorOf(() => native.setScheduling(pid, { ...ordinary, policy: 99 })).code, 'EINVAL');
});

test('affinity masks are as the kernel gives them', () => {
  const pid = spawn();
  const mask = native.getAffinity(pid);
  assert.is(mask.length % 8, 0);
  const only = Uint8Array.from(mask, () => 0);
  only[0] = 1;
  native.setAffinity(pid, only);
  assert.equal(native.getAffinity(pid), only);
  assert.is(statusField(pid, 'Cpus_allowed_list'), '0');
  assert.is(errorOf(() => native.setAffinity(pid, new Uint8Array(8))).code, 'EINVAL');
});

test('I/O priority comes back as it was set', () => {
  const pid = spawn();
  native.setIoPriority(pid, (2 << 13) | 6);
  assert.is(native.getIoPriority(pid), (2 << 13) | 6);
});

test('the robust list of a task: its own for Node, none for the skeleton', () => {
  const own = native.getRobustList(process.pid);
  assert.ok(own.head > 0n);
  assert.is(own.bytes, 24);
  assert.is(native.getRobustList(spawn()).head, 0n);
});

test('prctl reaches the calling thread', () => {
  assert.ok(native.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0) > 0);
  assert.is(errorOf(() => native.prctl(PR_SET_NAME, 1, 0, 0, 0)).code, 'EFAULT');
});

test('the scheduler clock tells how long a task has slept', async () => {
  const before = process.hrtime.bigint();
  const pid = spawn();
  await asleep(pid);
  const sleepMs = 300;
  await delay(sleepMs);
  const text = readFileSync(`/proc/${pid}/task/${pid}/sched`, 'latin1');
  const match = text.match(/^se\.exec_start\s*:\s*(\d+)\.(\d{6})$/m)!;
  const since = BigInt(match[1]! + match[2]!);
  const mask = native.getAffinity(0);
  const slept = native.schedulerClock(Number(statFields(pid)[36])) - since;
  assert.equal(native.getAffinity(0), mask);
  // At most the whole life of the task. The lower bound is wide: time stolen from this machine is not counted.
  assert.ok(slept <= process.hrtime.bigint() - before + 1_000_000n, `${slept} ns`);
  assert.ok(slept >= (BigInt(sleepMs) * 1_000_000n) / 2n, `${slept} ns`);
});

test('the scheduler clock is fresh at each reading', () => {
  // Within one tick and without sleeping: a stale value would repeat itself.
  let last = native.schedulerClock(0);
  for (let i = 0; i < 100; i += 1) {
    const now = native.schedulerClock(0);
    assert.ok(now > last);
    last = now;
  }
  assert.is(errorOf(() => native.schedulerClock(8191)).code, 'EINVAL');
  assert.is(errorOf(() => native.schedulerClock(-1)).code, 'EINVAL');
});

test.run();
