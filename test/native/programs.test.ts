// The programs that are migrated elsewhere, here without a migration: each passes, and each can fail.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgramRun, programNames } from '../support/programs.js';

/** Options each program is run with; each is run with --sabotage too. */
const runs: Record<string, string[][]> = {
  clocks: [[]],
  memory: [[]],
  blocked: [['--seconds', '1', '--slack', '5']],
  handled: [['--send']],
  syscalls: [['--seconds', '1', '--slack', '5']],
  cramped: [[], ['--merged']],
  credentials: [
    [],
    ['--uid', '65534'],
    ['--ids'],
    ['--no-new-privs', '--dumpable', '0'],
    ['--uid', '1000', '--dumpable', '1'],
  ],
  files: [[]],
  naps: [[]],
  'direct-reader': [[], ['--reopen']],
  growth: [
    ['--mb', '2'],
    ['--mb', '2', '--mergeable'],
  ],
  'many-mappings': [[], ['--gaps', '--churn']],
  'memory-kinds': [[], ['--late'], ['--lock-all'], ['--lock-all-on-fault'], ['--merge-all']],
  'memory-churn': [[], ['--uid', '65534']],
  pipes: [[], ['--packets']],
  process: [[], ['--title']],
  refused: [
    [],
    ['--child', '--socket', '--lock', '--shared', '--timer', '--seccomp', '--deleted', '--pipe-out'],
  ],
  registers: [[]],
  restless: [[], ['--identity', '--storm'], ['--grow', '20']],
  sections: [[]],
  signals: [[]],
  sudden: [[], ['--fork'], ['--exec']],
  six: [[], ['--no-epoll'], ['--tolerate-eintr']],
  threads: [[]],
  uts: [[], ['--unshare']],
  vdso: [[], ['--handler', '--ignore-trap']],
  watched: [[]],
  writer: [['--mb', '32', '--rate', '50', '--window', '8']],
};

async function judge(name: string, options: string[]) {
  using run = await ProgramRun.start(name, { options });
  const verdict = await run.check();
  return { ...verdict, code: await run.exitCode() };
}

const test = suite('programs');

test('every program has a run', () => {
  assert.equal(Object.keys(runs).sort(), programNames());
});

for (const [name, variants] of Object.entries(runs)) {
  for (const options of variants) {
    const title = [name, ...options].join(' ');
    test(`${title} passes undisturbed and fails when disturbed`, async () => {
      const [undisturbed, disturbed] = await Promise.all([
        judge(name, options),
        judge(name, [...options, '--sabotage']),
      ]);
      assert.equal(undisturbed, { passed: true, failures: [], code: 0 });
      assert.not(disturbed.passed, 'the check cannot fail');
      assert.is(disturbed.code, 1);
    });
  }
}

test('every program passes in a pid namespace with its own /proc', async () => {
  const through = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const verdicts = await Promise.all(
    Object.entries(runs).map(async ([name, [options]]) => {
      using run = await ProgramRun.start(name, { options: options!, through });
      return { name, ...(await run.check()) };
    }),
  );
  assert.equal(
    verdicts.filter((verdict) => !verdict.passed),
    [],
  );
});

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
