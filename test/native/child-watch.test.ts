import { type ChildProcess, spawn as spawnNode } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ChildStatus, native } from '../../native/index.js';
import { collected, end, endAll, ended, errorOf, SIGKILL, spawn, statFields } from './children.js';

const test = suite('child watch');

const SIGTERM = 15;

const folder = mkdtempSync(join(tmpdir(), 'godwit-child-watch-'));

/** A program of one line of shell. */
function script(line: string): string {
  const path = join(folder, 'script');
  writeFileSync(path, `#!/bin/sh\n${line}\n`, { mode: 0o755 });
  return path;
}

test.after.each(endAll);
test.after(() => rmSync(folder, { recursive: true }));

test('onChildExit tells an exit code and a signal, and collects the child', async () => {
  const pid = spawn({ program: script('exit 7') });
  assert.equal(await ended(pid), { pid, code: 7, signal: null, coreDumped: false });
  assert.not.ok(existsSync(`/proc/${pid}`));
  const killed = spawn();
  native.kill(killed, SIGTERM);
  assert.equal(await ended(killed), { pid: killed, code: null, signal: SIGTERM, coreDumped: false });
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
  collected(pid);
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
  collected(pid);
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
  const before = process.cpuUsage();
  await delay(100);
  assert.is(status, null);
  // The readable pidfd does not keep the loop spinning.
  assert.ok(process.cpuUsage(before).user + process.cpuUsage(before).system < 50_000);
  tracer.stdin!.end();
  await end;
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
  collected(pid);
  assert.equal(status, { pid, code: null, signal: SIGKILL, coreDumped: false });
  assert.is(errorOf(() => native.reap(pid)).code, 'ECHILD');
});

test.run();
