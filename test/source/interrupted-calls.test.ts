// time limit: 300 s
/**
 * System calls that a stop interrupts, at home: the program goes on as if nobody had been there. What is asked of each
 * call is in the programs: no EINTR, never early, and late only where docs/limits.md says so.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { hold } from '../support/held.js';
import { ProgramRun } from '../support/programs.js';
import { lookAt, untouched } from '../support/untouched.js';

/** A wait that begins again when it is interrupted ends after its slack. */
const waits = { options: ['--seconds', '14', '--slack', '6'] };
const settleMs = 8000;
const holder = fileURLToPath(new URL('./holder.js', import.meta.url));
/** Signals and probes of handled.c. */
const firstSignal = 40;
const probes = 9;

async function killedWhileHolding(pid: number): Promise<void> {
  const child = spawn(process.execPath, [holder, String(pid)], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await Promise.race([once(child.stdout, 'data'), once(child, 'close')]);
  } finally {
    child.kill('SIGKILL');
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  assert.is(child.exitCode, null, 'the holder ended by itself');
}

for (const name of ['syscalls', 'blocked']) {
  test(`${name}: calls go on after a stop`, async () => {
    using run = await ProgramRun.start(name, waits);
    await sleep(settleMs);
    const before = lookAt(run.pid);
    for (const heldMs of [0, 300, 0]) {
      hold(run.pid, () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, heldMs));
    }
    assert.equal(await untouched(run.pid, before), []);
    assert.equal((await run.check()).failures, []);
  });

  test(`${name}: calls go on after SIGKILL of an agent that held them`, async () => {
    using run = await ProgramRun.start(name, waits);
    await sleep(settleMs);
    const before = lookAt(run.pid);
    for (let i = 0; i < 2; i += 1) await killedWhileHolding(run.pid);
    assert.equal(await untouched(run.pid, before), []);
    assert.equal((await run.check()).failures, []);
  });
}

test('a wait that has just begun is not taken for the one before', async () => {
  using run = await ProgramRun.start('naps');
  for (let i = 0; i < 60; i += 1) {
    hold(run.pid);
    await sleep(3);
  }
  assert.equal((await run.check()).failures, []);
});

function sendAll(pid: number): void {
  for (let i = 0; i < probes; i += 1) process.kill(pid, firstSignal + i);
}

test('signals that come while the program is held break off what they would at home', async () => {
  using run = await ProgramRun.start('handled');
  hold(run.pid, () => sendAll(run.pid));
  assert.equal((await run.check()).failures, []);
});

test('signals that are pending when it is looked at, too', async () => {
  using run = await ProgramRun.start('handled');
  const addon = native as { peekSignals: typeof native.peekSignals };
  const { peekSignals } = native;
  addon.peekSignals = (tid, shared) => {
    sendAll(run.pid);
    addon.peekSignals = peekSignals;
    return peekSignals(tid, shared);
  };
  try {
    hold(run.pid);
  } finally {
    addon.peekSignals = peekSignals;
  }
  assert.equal((await run.check()).failures, []);
});

test.run();
