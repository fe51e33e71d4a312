// The programs that are migrated elsewhere, here without a migration: each passes, and each can fail.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgramRun, programNames } from '../support/programs.js';

/** Options each program is run with; each is run with --sabotage too. */
const runs: Record<string, string[][]> = {
  memory: [[]],
  syscalls: [['--seconds', '1', '--slack', '5']],
  threads: [[]],
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

test.run();
