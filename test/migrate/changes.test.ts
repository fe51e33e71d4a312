// time limit: 300 s
/**
 * What a program does while its memory is being sent: everything that can change does change, all the time, and
 * arrives as it was at the end; what cannot be carried on with ends the migration by name, and harms nobody.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ErrorCode } from '../../shared/errors.js';
import type { FailureReport, Report } from '../../source-agent/report.js';
import { Attempt } from '../support/attempt.js';
import { ProgramRun } from '../support/programs.js';
import { TwoHosts } from '../support/two-hosts.js';
import { lookAt, untouched } from '../support/untouched.js';

const hosts = await TwoHosts.start();
const usual = hosts.target.tasks().length;
test.after(() => hosts[Symbol.asyncDispose]());

/** Random memory for a first round of about two seconds. */
const slow = { resident: ['--resident', '16'], options: ['--bandwidth', '8M'] };

function start(pid: number, ...options: string[]): Attempt {
  return Attempt.start(pid, hosts.target.address, hosts.secretFile, ...options);
}

async function assertTargetClean(): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (hosts.target.tasks().length !== usual && performance.now() < deadline) await sleep(10);
  const left = hosts.target.tasks().map((pid) => readFileSync(`/proc/${pid}/stat`, 'latin1').slice(0, 40));
  assert.is(left.length, usual, `the target keeps something: ${left.join('\n')}`);
}

async function assertWell(run: ProgramRun): Promise<void> {
  assert.equal((await run.check()).failures, []);
  assert.ok(run.lines().includes('PASS'));
}

// ---------------------------------------------------------------- what is carried

for (const options of [[], ['--storm'], ['--identity', '--storm'], ['--grow', '40'], ['--pause', '0']]) {
  test(`restless ${options.join(' ')} is moved as it is at the end`, async () => {
    using run = await ProgramRun.start('restless', { options });
    const { code, output } = await hosts.move(run.pid);
    assert.is(code, 0, `${output}\n${hosts.targetLog.split('\n').slice(-4)}`);
    const turns = async () => Number(/^TURNS (\d+)/.exec((await run.ask())[0]!)![1]);
    const first = await turns();
    assert.ok((await turns()) >= first);
    await assertWell(run);
    await assertTargetClean();
  });
}

// ---------------------------------------------------------------- exec

for (const option of ['--exec', '--exec-thread']) {
  test(`a program that becomes another one is moved as that one (${option})`, async () => {
    using run = await ProgramRun.start('sudden', { options: [...slow.resident, option] });
    const attempt = start(run.pid, ...slow.options);
    await attempt.reached('rounds');
    await run.ask();
    const { code, result, output } = await attempt.ended;
    assert.is(code, 0, output);
    const restarts = attempt.events.filter(({ event }) => event === 'restart');
    assert.is(restarts.length, 1, output);
    assert.ok(
      (result as Report).notes.some((note) => /started 2 times/.test(note)),
      output,
    );
    assert.is(run.lines().filter((line) => line === 'READY').length, 2);
    await assertWell(run);
    await assertTargetClean();
  });
}

test('a program that becomes another one again and again is left alone', async () => {
  using run = await ProgramRun.start('sudden', { options: ['--resident', '4', '--exec-often'] });
  await run.ask();
  // Two seconds for the first round, and a new program each fiftieth of a second.
  const { code, result, output } = await start(run.pid, '--bandwidth', '2M').ended;
  assert.is((result as FailureReport).code, 'process-exec', output);
  assert.is(code, 1, output);
  assert.is(output.match(/"event":"restart"/g)?.length, 3, output);
  await assertWell(run);
  await assertTargetClean();
});

// ---------------------------------------------------------------- what ends the migration

interface Sudden {
  what: string;
  options: string[];
  code: ErrorCode;
  exit: number;
  says: RegExp;
  /** Done when the program has done it and the migration is over. */
  after?: (run: ProgramRun) => void;
}

const sudden: Sudden[] = [
  { what: 'a child', options: ['--fork'], code: 'has-children', exit: 3, says: /is a child of process/ },
  {
    what: 'a child that shares its memory and does not end',
    options: ['--vfork'],
    code: 'stop-timeout',
    exit: 1,
    says: /did not stop within/,
    after: (run) => writeFileSync(`${run.statusFile}.go`, ''),
  },
  {
    what: 'threads without the first one',
    options: ['--leader-ends'],
    code: 'process-dead',
    exit: 3,
    says: /goes on without its first thread/,
  },
];

for (const { what, options, code, exit, says, after } of sudden) {
  test(`${what} during the rounds`, async () => {
    using run = await ProgramRun.start('sudden', { options: [...slow.resident, ...options] });
    const attempt = start(run.pid, ...slow.options);
    await attempt.reached('rounds');
    await run.ask();
    const { code: exitCode, result, output } = await attempt.ended;
    const failure = result as FailureReport;
    assert.is(failure.code, code, output);
    assert.match(failure.what, says);
    assert.is(exitCode, exit, output);
    after?.(run);
    await assertWell(run);
    await assertTargetClean();
  });
}

test('a stop signal during the rounds: it stays stopped, and goes on when it is told to', async () => {
  using run = await ProgramRun.start('restless');
  const attempt = start(run.pid, '--bandwidth', '1M');
  await attempt.reached('rounds');
  run.signal('SIGSTOP');
  const { code, result, output } = await attempt.ended;
  assert.is((result as FailureReport).code, 'process-stopped', output);
  assert.is(code, 3, output);
  const stopped = lookAt(run.pid).filter((line) => / stopped /.test(line));
  assert.ok(stopped.length > 1, 'it goes on');
  run.signal('SIGCONT');
  await assertWell(run);
  await assertTargetClean();
});

test('what it did before is as it was when nothing could be moved', async () => {
  using run = await ProgramRun.start('sudden', { options: [...slow.resident, '--fork'] });
  await run.ask();
  const before = lookAt(run.pid);
  assert.is((await start(run.pid).ended).code, 3);
  assert.equal(await untouched(run.pid, before), []);
  await assertWell(run);
});

test.run();
