import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { endAll, errorOf, spawn, statFields, statusField } from './children.js';

const test = suite('scheduling');

const SCHED_BATCH = 3;
const SCHED_FIFO = 1;

async function asleep(pid: number): Promise<void> {
  while (statFields(pid)[0] !== 'S') await delay(1);
}

test.after.each(endAll);

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
  const mask = native.getAffinity(0);
  const only = Uint8Array.from(mask, () => 0);
  only[0] = 1;
  // On its CPU already, the thread is not moved for the reading, which would charge it as a side effect.
  native.setAffinity(0, only);
  try {
    let last = native.schedulerClock(0);
    for (let i = 0; i < 100; i += 1) {
      const now = native.schedulerClock(0);
      assert.ok(now > last);
      last = now;
    }
  } finally {
    native.setAffinity(0, mask);
  }
  assert.is(errorOf(() => native.schedulerClock(8191)).code, 'EINVAL');
  assert.is(errorOf(() => native.schedulerClock(-1)).code, 'EINVAL');
});

test.run();
