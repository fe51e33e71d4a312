// The programs that are migrated elsewhere, here without a migration: each passes, and each can fail.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgramRun, programNames } from '../support/programs.js';

/** Options each program is run with; each is run with --sabotage too. */
const runs: Record<string, string[][]> = {
  memory: [[]],
  syscalls: [['--seconds', '1', '--slack', '5']],
  credentials: [
    [],
    ['--uid', '65534'],
    ['--ids'],
    ['--no-new-privs', '--dumpable', '0'],
    ['--uid', '1000', '--dumpable', '1'],
  ],
  files: [[]],
  'memory-churn': [[], ['--uid', '65534']],
  pipes: [[], ['--packets']],
  signals: [[]],
  six: [[], ['--no-epoll']],
  threads: [[]],
  writer: [['--mb', '32', '--rate', '50', '--window', '8']],
};

const test = suite('programs');

test('every program has a run', () => {
  assert.equal(Object.keys(runs).sort(), programNames());
});

for (const [name, variants] of Object.entries(runs)) {
  for (const options of variants) {
    const title = [name, ...options].join(' ');
    test(`${title} passes undisturbed`, async () => {
      using run = await ProgramRun.start(name, { options });
      assert.equal(await run.check(), { passed: true, failures: [] });
      assert.is(await run.exitCode(), 0);
    });
    test(`${title} fails when disturbed`, async () => {
      using run = await ProgramRun.start(name, { options: [...options, '--sabotage'] });
      const verdict = await run.check();
      assert.not(verdict.passed, 'the check cannot fail');
      assert.is(await run.exitCode(), 1);
    });
  }
}

test('six reports its counters again and again', async () => {
  using run = await ProgramRun.start('six');
  const rounds = (lines: string[]) =>
    lines.map((line) => Number(/^COUNTER \w+ rounds=(\d+) errors=0$/.exec(line)![1]));
  const first = rounds(await run.ask());
  const second = rounds(await run.ask());
  assert.is(first.length, 6);
  assert.ok(first.every((count, index) => count <= second[index]!));
  assert.ok((await run.check()).passed);
});

test('writer sees a gap in which it was stopped', async () => {
  using run = await ProgramRun.start('writer', { options: ['--mb', '16', '--rate', '20', '--window', '4'] });
  process.kill(run.pid, 'SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 100));
  process.kill(run.pid, 'SIGCONT');
  const lines = await run.ask();
  const gaps = lines.filter((line) => line.startsWith('GAP ')).map((line) => Number(line.split(' ')[1]));
  assert.ok(Math.max(...gaps) >= 90e6, `longest gap ${Math.max(...gaps)} ns`);
  assert.ok(lines.some((line) => /^WRITTEN pages=\d+ gaps=\d+ iterations=\d+$/.test(line)));
  assert.ok((await run.check()).passed);
});

test.run();
