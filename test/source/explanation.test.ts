/** What a failure is called where the process has ended meanwhile. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ErrorCode, MigrationError } from '../../shared/errors.js';
import { explain } from '../../source-agent/explanation.js';
import { SourceProcess } from '../../source-agent/source-process.js';

const failure = (code: ErrorCode) => new MigrationError(code, 'something was not as it should be');

async function explained(code: ErrorCode, isKilled: boolean): Promise<ErrorCode> {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  try {
    await once(child, 'spawn');
    using process = SourceProcess.open(child.pid!);
    if (isKilled) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    return (await explain(process, failure(code))).code;
  } finally {
    child.kill('SIGKILL');
  }
}

for (const code of ['no-such-process', 'no-injection-point', 'unreadable-state'] as const) {
  test(`${code}: of a process that was killed it says that it ended`, async () => {
    assert.is(await explained(code, true), 'process-ended');
  });
}

test('of a process that lives, what failed is told as it is', async () => {
  assert.is(await explained('no-injection-point', false), 'no-injection-point');
});

test('what has nothing to do with its end is told as it is', async () => {
  assert.is(await explained('link-lost', true), 'link-lost');
});

test.run();
