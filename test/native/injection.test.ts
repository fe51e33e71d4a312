// time limit: 300 s
/**
 * Working inside other processes, and leaving them: in order, and by being killed in the middle. 100 kills; 1000 with
 * GODWIT_NIGHTLY=1.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { eachLine } from '../../cli/demo/lines.js';
import { native } from '../../native/index.js';
import { MigrationError } from '../../shared/errors.js';
import { CallBatch } from '../../shared/injection/batch.js';
import { fromBytes, get } from '../../shared/injection/x86-64/registers.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { State } from '../../shared/state/index.js';
import type { FrozenProcess } from '../../source-agent/frozen-process.js';
import { PipeCensus } from '../../source-agent/pipe-census.js';
import { SourceProcess } from '../../source-agent/source-process.js';
import { Stopper } from '../../source-agent/stop.js';
import { ProgramRun } from '../support/programs.js';
import { chosenSeed, nightly, Random } from '../support/random.js';
import { repetitions, scaled } from '../support/time.js';
import { lookAt, untouched } from '../support/untouched.js';

const kills = repetitions(nightly ? 1000 : 100);
const intruder = fileURLToPath(new URL('./intruder.js', import.meta.url));

/** Stops the program, captures all of its state, and does what is asked before it is let go. */
function visit(pid: number, act: (frozen: FrozenProcess, state: State) => void = () => {}): void {
  using source = SourceProcess.open(pid);
  const stopper = new Stopper(source, new PipeCensus(pid));
  using frozen = stopper.freeze();
  act(frozen, stopper.capture(frozen, stopper.mappings()));
}

function failureOf(action: () => void): MigrationError {
  try {
    action();
  } catch (error) {
    if (error instanceof MigrationError) return error;
    throw error;
  }
  throw new Error('no error');
}

async function killedOnce(pid: number, delayMs: number): Promise<boolean> {
  const child = spawn(process.execPath, [intruder, String(pid), 'loop'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let held = false;
  eachLine(child.stdout, () => {
    for (const until = performance.now() + delayMs; performance.now() < until; );
    held = /^State:\s*t/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
    child.kill('SIGKILL');
  });
  const [code] = await once(child, 'close');
  assert.is(code, null, 'the intruder ended by itself');
  return held;
}

test(`programs survive ${kills} deaths of what works in them`, async () => {
  const seed = chosenSeed();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  using six = await ProgramRun.start('six', { options: ['--tolerate-eintr'] });
  using registers = await ProgramRun.start('registers');
  const programs = [six, registers].map((run) => ({ run, before: lookAt(run.pid) }));
  let held = 0;
  for (let i = 0; i < kills; i += 2) {
    await Promise.all(
      programs.map(async ({ run, before }) => {
        const delayMs = random.below(scaled(40));
        if (await killedOnce(run.pid, delayMs)) held += 1;
        const message = `seed ${seed}, kill ${i} of ${run.name}, ${delayMs.toFixed(3)} ms after the start`;
        assert.equal(await untouched(run.pid, before), [], message);
      }),
    );
  }
  for (const { run } of programs) assert.equal((await run.check()).failures, [], `seed ${seed}`);
  console.log(`${kills} survived, ${held} of them while held`);
  assert.ok(held > Math.floor(kills / 10), 'the stops were hardly ever hit');
});

test('a descriptor that was made for the agent is closed when the agent dies', async () => {
  using run = await ProgramRun.start('six', { options: ['--tolerate-eintr'] });
  const before = lookAt(run.pid);
  const child = spawn(process.execPath, [intruder, String(run.pid), 'hold'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the intruder ended with exit code ${code}`)));
    eachLine(child.stdout, (line) => {
      if (line === 'holding') resolve();
    });
  });
  const open = lookAt(run.pid).filter((line) => line.startsWith('descriptor'));
  const known = before.filter((line) => line.startsWith('descriptor'));
  // The stub's own socket, and the userfaultfd.
  assert.is(open.length, known.length + 2);
  child.kill('SIGKILL');
  await once(child, 'close');
  assert.equal(await untouched(run.pid, before), []);
  assert.equal((await run.check()).failures, []);
});

test('a descriptor that was made for the agent is closed by the next batch, or at the end', async () => {
  using run = await ProgramRun.start('six');
  const before = lookAt(run.pid);
  for (const another of [true, false]) {
    visit(run.pid, (frozen) => {
      const batch = new CallBatch();
      const opened = batch.add('userfaultfd', syscalls.userfaultfd, 1);
      frozen.run(batch, opened);
      const fd = Number(batch.result(opened));
      assert.match(readlinkSync(`/proc/${run.pid}/fd/${fd}`), /userfaultfd/);
      if (!another) return;
      const nothing = new CallBatch();
      nothing.add('brk', syscalls.brk, 0);
      frozen.run(nothing);
      assert.throws(() => readlinkSync(`/proc/${run.pid}/fd/${fd}`), /ENOENT/);
    });
    assert.equal(await untouched(run.pid, before), []);
  }
  assert.equal((await run.check()).failures, []);
});

for (const [name, options] of [
  ['six', []],
  ['registers', []],
  ['signals', []],
  ['threads', []],
  // Threads in every kind of wait, with and without a limit: none is late, early or interrupted.
  ['syscalls', ['--seconds', '5', '--slack', '30']],
] as const) {
  test(`${name} does not notice visits`, async () => {
    using run = await ProgramRun.start(name, { options: [...options] });
    const before = lookAt(run.pid);
    // Some waits begin to count again what was left when they were stopped, at home as here: held time comes on top.
    const visits = name === 'syscalls' ? 3 : 20;
    for (let i = 0; i < visits; i += 1) {
      visit(run.pid);
      await sleep(10);
    }
    // A thread that waits no more is no longer there.
    const waiting = name === 'syscalls' ? /^- thread/ : /^$/;
    const changed = (await untouched(run.pid, before, name === 'syscalls' ? 0 : undefined)).filter(
      (line) => !waiting.test(line),
    );
    assert.equal(changed, []);
    assert.equal((await run.check()).failures, []);
  });
}

test('a thread in a restartable sequence is sent through its abort path', async () => {
  using run = await ProgramRun.start('sections');
  const fact = (name: string) =>
    run
      .lines()
      .find((line) => line.startsWith(`FACT ${name} `))!
      .split(' ')
      .slice(2)
      .map(BigInt);
  const [words] = fact('words') as [bigint];
  const [start, end, abort] = fact('section') as [bigint, bigint, bigint];
  const write = (index: number, value: bigint) =>
    native.writeMemory(run.pid, words + BigInt(index * 8), new Uint8Array(BigUint64Array.of(value).buffer));
  const read = () => new BigUint64Array(new Uint8Array(native.readMemory(run.pid, words, 32)).buffer);
  const inside = (rip: bigint) => rip >= start && rip < end;
  let seen = 0;
  for (let number = 2n; number < 22n; number += 1n) {
    visit(run.pid, (frozen, state) => {
      const rips = frozen.threads.map(({ image }) => get(image.registers, 'rip'));
      const stopped = rips.filter(inside).length;
      // The kernel may have sent one there already.
      const aborted = rips.filter((rip) => rip === abort).length;
      const captured = state.threads.map(({ registers }) => get(fromBytes(registers), 'rip'));
      assert.not.ok(captured.some(inside), 'on the target it would commit what is stale');
      assert.is(captured.filter((rip) => rip === abort).length, stopped + aborted);
      seen += stopped;
      write(0, number);
    });
    write(1, 1n);
    for (
      const until = performance.now() + scaled(5000);
      performance.now() < until && read().slice(2).includes(0n);
    )
      await sleep(1);
    assert.equal([...read().slice(2)], [number, number], 'what was committed was taken before the stop');
    write(1, 0n);
    write(2, 0n);
    write(3, 0n);
  }
  assert.ok(seen > 0, 'no thread was ever stopped inside');
  assert.equal((await run.check()).failures, []);
});

test('a program that was stopped meanwhile is refused, and stays stopped', async () => {
  using run = await ProgramRun.start('six', { options: ['--tolerate-eintr'] });
  const before = lookAt(run.pid);
  run.signal('SIGSTOP');
  const stopped = () => /^State:\s*T/m.test(readFileSync(`/proc/${run.pid}/status`, 'latin1'));
  for (const until = performance.now() + scaled(5000); performance.now() < until && !stopped(); )
    await sleep(1);
  assert.is(failureOf(() => visit(run.pid)).code, 'process-stopped');
  for (const until = performance.now() + scaled(5000); performance.now() < until && !stopped(); )
    await sleep(1);
  assert.ok(stopped());
  run.signal('SIGCONT');
  assert.equal(await untouched(run.pid, before), []);
  assert.equal((await run.check()).failures, []);
});

test('what lies below a stack with little room is left alone', async () => {
  using run = await ProgramRun.start('cramped');
  const before = lookAt(run.pid);
  const failure = failureOf(() => visit(run.pid));
  assert.is(failure.code, 'no-stack-room');
  assert.match(failure.message, /thread \d+ has too little room on its stack/);
  assert.equal(await untouched(run.pid, before), []);
  assert.equal((await run.check()).failures, []);
});

test('what was overwritten below a stack is put back', async () => {
  using run = await ProgramRun.start('cramped', { options: ['--merged'] });
  const before = lookAt(run.pid);
  for (let i = 0; i < 3; i += 1) visit(run.pid);
  assert.equal(await untouched(run.pid, before), []);
  assert.equal((await run.check()).failures, []);
});

test.run();
