// time limit: 300 s
/**
 * Bad input that strikes later than preflight, at each step where it can. Whatever it is: a clear code, a source that
 * runs on with its descriptors, maps, masks and affinity as they were and with right content, and a clean target.
 * What strikes in preflight or before is in bad-input.test.ts; the death of an agent and of the link in aborts.test.ts.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { catalogue, type ErrorCode } from '../../shared/errors.js';
import type { FailureReport } from '../../source-agent/report.js';
import { Attempt } from '../support/attempt.js';
import { compileProgram, ProgramRun } from '../support/programs.js';
import { skip } from '../support/skips.js';
import { command, TwoHosts } from '../support/two-hosts.js';
import { differences, lookAt, untouched } from '../support/untouched.js';

const hosts = await TwoHosts.start();
const usual = hosts.target.tasks().length;
const folder = mkdtempSync(join(tmpdir(), 'godwit-late-input-'));
chmodSync(folder, 0o755);
test.after(async () => {
  await hosts[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** Why these cannot strike once preflight is over. */
export const cannotStrikeLater: Readonly<Record<string, string>> = {
  'no such process':
    'the pidfd and the memory opened at first belong to one process; its end is process-ended',
  'a kernel thread': 'no process becomes one',
  'the agent itself': 'no process becomes its own ancestor',
  'no target, wrong secret': 'both are settled when the session begins; its loss is link-lost',
  'an agent without rights': 'rights of a running process are taken by nobody but itself',
};

function start(pid: number, ...options: string[]): Attempt {
  return Attempt.start(pid, hosts.target.address, hosts.secretFile, ...options);
}

async function assertTargetClean(): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (hosts.target.tasks().length !== usual && performance.now() < deadline) await sleep(10);
  assert.is(hosts.target.tasks().length, usual, 'the target keeps something');
}

/** A migration of `run` that is struck during its first round, and fails in this way. */
async function assertStruck(
  run: ProgramRun,
  codes: ErrorCode[],
  strike: () => unknown,
  { before = lookAt(run.pid), checked = true } = {},
): Promise<void> {
  const attempt = start(run.pid, '--bandwidth', '8M');
  await attempt.reached('rounds');
  await strike();
  const { code, result, output } = await attempt.ended;
  const failure = result as FailureReport;
  assert.ok(codes.includes(failure.code), `${codes} expected: ${output}`);
  assert.is(code, catalogue[failure.code].exit, output);
  assert.equal(await untouched(run.pid, before), [], output);
  if (checked) assert.equal((await run.check()).failures, []);
}

/** 16 MB of random memory: a first round of two seconds. */
const slow = ['--resident', '16'];

/** Mounts something that only the target sees; the last argument is where. */
function mountOnTarget(...given: string[]): Disposable {
  const run = (...argv: string[]) => {
    const [program, ...rest] = [...hosts.target.within, ...argv];
    execFileSync(program!, rest);
  };
  run('mount', ...given);
  return { [Symbol.dispose]: () => run('umount', '--lazy', given.at(-1)!) };
}

test('the process becomes traced', async () => {
  using run = await ProgramRun.start('refused', { options: slow });
  const before = lookAt(run.pid);
  try {
    // The tracer itself shows in the look, so it goes before the comparison.
    const attempt = start(run.pid, '--bandwidth', '8M');
    await attempt.reached('rounds');
    native.seize(run.pid, 0);
    const { code, result, output } = await attempt.ended;
    assert.is((result as FailureReport).code, 'process-traced', output);
    assert.is(code, 3);
  } finally {
    native.interruptAndStop([run.pid], 5000);
    native.detach([run.pid]);
  }
  assert.equal(await untouched(run.pid, before), []);
  assert.equal((await run.check()).failures, []);
  await assertTargetClean();
});

test('an open file vanishes on the target', async () => {
  const data = join(folder, 'vanishing');
  mkdirSync(data);
  writeFileSync(join(data, 'file'), 'content');
  using run = await ProgramRun.start('refused', { options: [...slow, '--open', join(data, 'file')] });
  const hidden: Disposable[] = [];
  try {
    await assertStruck(run, ['file-missing'], () => hidden.push(mountOnTarget('-t', 'tmpfs', 'tmpfs', data)));
  } finally {
    for (const mount of hidden) mount[Symbol.dispose]();
  }
  await assertTargetClean();
});

test('an open file is written on the source alone', async () => {
  const data = join(folder, 'written');
  const copy = join(folder, 'copy');
  for (const path of [data, copy]) writeFileSync(path, 'content');
  using _copied = mountOnTarget('--bind', copy, data);
  using run = await ProgramRun.start('refused', { options: [...slow, '--open', data] });
  await assertStruck(run, ['file-differs'], () => writeFileSync(data, 'another'));
  await assertTargetClean();
});

test('an open file, and a mapped one, is replaced on the source', async () => {
  const data = join(folder, 'open');
  writeFileSync(data, 'content');
  const program = join(folder, 'program');
  copyFileSync(compileProgram('refused'), program);
  for (const [path, code] of [
    [data, 'file-deleted'],
    [program, 'mapping-deleted'],
  ] as const) {
    using run = await ProgramRun.command('refused', (status) => [program, status, ...slow, '--open', data]);
    // The old one has no name any more: that is the strike's doing.
    const look = () => lookAt(run.pid).map((line) => line.replace(' (deleted)', ''));
    const before = look();
    const attempt = start(run.pid, '--bandwidth', '8M');
    await attempt.reached('rounds');
    copyFileSync(path, `${path}.new`);
    renameSync(`${path}.new`, path);
    const { code: exit, result, output } = await attempt.ended;
    const failure = result as FailureReport;
    const found = [failure.code, ...failure.blockers.map((blocker) => blocker.code)];
    assert.ok(found.includes(code), output);
    assert.is(exit, 3, output);
    for (let tries = 0; tries < 500 && differences(before, look()).length > 0; tries += 1) await sleep(10);
    assert.equal(differences(before, look()), []);
    assert.equal((await run.check()).failures, []);
    await assertTargetClean();
  }
});

test('the program becomes a 32-bit one', async () => {
  const source = join(folder, 'small.s');
  const program = join(folder, 'small');
  writeFileSync(source, '.globl _start\n_start: mov $29, %eax\n int $0x80\n jmp _start\n');
  execFileSync('as', ['--32', '-o', `${program}.o`, source]);
  execFileSync('ld', ['-m', 'elf_i386', '-o', program, `${program}.o`]);
  using run = await ProgramRun.start('sudden', { options: [...slow, '--become', program] });
  const attempt = start(run.pid, '--bandwidth', '8M');
  await attempt.reached('rounds');
  await run.ask();
  const { code, result, output } = await attempt.ended;
  const codes = (result as FailureReport).blockers.map((blocker) => blocker.code);
  assert.ok(codes.includes('process-32-bit'), output);
  assert.is(code, 3);
  assert.match(readFileSync(`/proc/${run.pid}/status`, 'utf8'), /^State:\s+S/m);
  await assertTargetClean();
});

test('the id is taken between preflight and the skeleton', async () => {
  using run = await ProgramRun.start('refused', { options: slow });
  const before = lookAt(run.pid);
  // The next process of the namespace gets the id after the last: proc(5), ns_last_pid.
  const script = 'read x; echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; sleep 600 & wait';
  const [program, ...given] = [...hosts.target.within, 'sh', '-c', script, 'sh', String(run.pid)];
  const taker = spawn(program!, given, { stdio: ['pipe', 'ignore', 'ignore'] });
  const agent = hosts.target
    .tasks()
    .find((pid) => /main\.js\0agent/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1')))!;
  const attempt = start(run.pid, '--bandwidth', '8M');
  await attempt.reached('arm');
  process.kill(agent, 'SIGSTOP');
  try {
    taker.stdin!.write('\n');
    for (const until = performance.now() + 5000; performance.now() < until; await sleep(5))
      if (hosts.target.find(run.pid)) break;
  } finally {
    process.kill(agent, 'SIGCONT');
  }
  const { code, result, output } = await attempt.ended;
  hosts.killOnTarget(run.pid);
  taker.kill();
  if (taker.exitCode === null && taker.signalCode === null) await once(taker, 'exit');
  assert.is((result as FailureReport).code, 'pid-taken', output);
  assert.is(code, 3);
  assert.equal(await untouched(run.pid, before), []);
  assert.equal((await run.check()).failures, []);
  await assertTargetClean();
});

test('the target runs out of memory while pages land', async () => {
  const group = `/sys/fs/cgroup/memory/godwit-late-${process.pid}`;
  try {
    mkdirSync(group);
    readFileSync(join(group, 'memory.limit_in_bytes'));
  } catch {
    return skip('memory-cgroup', 'no memory controller of version 1 can be used');
  }
  // Its agent may be what the kernel ends.
  await using poor = await TwoHosts.start();
  using run = await ProgramRun.start('refused', { options: ['--resident', '48'] });
  const before = lookAt(run.pid);
  try {
    const attempt = Attempt.start(run.pid, poor.target.address, poor.secretFile, '--bandwidth', '16M');
    await attempt.reached('rounds');
    for (const pid of poor.target.tasks()) {
      if (poor.target.find(run.pid)?.pid === pid) writeFileSync(join(group, 'cgroup.procs'), String(pid));
    }
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(8 << 20));
    const { code, result, output } = await attempt.ended;
    const failure = result as FailureReport;
    assert.ok(['target-failed', 'link-lost', 'no-memory'].includes(failure.code), output);
    assert.is(code, catalogue[failure.code].exit);
    assert.equal(await untouched(run.pid, before), []);
    assert.equal((await run.check()).failures, []);
    for (const until = performance.now() + 15_000; performance.now() < until; await sleep(20))
      if (!poor.target.find(run.pid)) break;
    assert.is(poor.target.find(run.pid), null);
  } finally {
    for (let tries = 0; tries < 100; tries += 1) {
      try {
        rmdirSync(group);
        break;
      } catch {
        await sleep(50);
      }
    }
  }
});

test("the disk of the target's state is full after preflight: nothing of the migration depends on it", async () => {
  using run = await ProgramRun.start('refused', { options: slow });
  const attempt = start(run.pid, '--bandwidth', '8M');
  await attempt.reached('rounds');
  const state = join(hosts.folder, 'state');
  using _full = mountOnTarget('-t', 'tmpfs', '-o', 'size=4k,nr_inodes=1', 'tmpfs', state);
  const { code, output } = await attempt.ended;
  assert.is(code, 0, output);
  assert.equal((await run.check()).failures, []);
  await assertTargetClean();
});

test('nobody can be told: the output is closed, or its disk is full', async () => {
  for (const redirection of ['>/dev/full 2>/dev/full', '>&- 2>&-', '| true']) {
    using run = await ProgramRun.start('refused', { options: slow });
    const [node, main] = command as [string, string];
    const given = [
      node,
      main,
      String(run.pid),
      hosts.target.address,
      '--json',
      '--secret-file',
      hosts.secretFile,
    ];
    const out = openSync('/dev/null', 'r+');
    const child = spawn('bash', ['-c', `set -o pipefail; "$@" ${redirection}`, 'bash', ...given], {
      stdio: [out, out, out],
    });
    closeSync(out);
    const [code] = await once(child, 'exit');
    assert.is(code, 0, redirection);
    assert.equal((await run.check()).failures, [], redirection);
    await assertTargetClean();
  }
});

for (const step of ['arm', 'settle', 'freeze'] as const) {
  test(`a stop signal in the stop of ${step}: it stays stopped here, or had gone already`, async () => {
    for (const delayMs of [0, 4, 12]) {
      using run = await ProgramRun.start('restless');
      const attempt = start(run.pid);
      await attempt.reached(step);
      await sleep(delayMs);
      run.signal('SIGSTOP');
      const { code, result, output } = await attempt.ended;
      if (code === 0) {
        assert.is(step, 'freeze', output);
      } else {
        assert.is((result as FailureReport).code, 'process-stopped', output);
        assert.match(readFileSync(`/proc/${run.pid}/status`, 'utf8'), /^State:\s+[Tt]/m, output);
        run.signal('SIGCONT');
      }
      assert.equal((await run.check()).failures, [], output);
      await assertTargetClean();
    }
  });

  test(`a fatal signal in the stop of ${step}: it ends, here or there, and not twice`, async () => {
    for (const delayMs of [0, 4, 12]) {
      using run = await ProgramRun.start('six', { options: ['--tolerate-eintr'] });
      const attempt = start(run.pid);
      await attempt.reached(step);
      await sleep(delayMs);
      run.signal('SIGKILL');
      const { code, result, output } = await attempt.ended;
      if (code === 0) {
        assert.is(step, 'freeze', output);
        assert.ok(hosts.killOnTarget(run.pid));
      } else assert.is((result as FailureReport).code, 'process-ended', output);
      await assertTargetClean();
    }
  });
}

test.run();
