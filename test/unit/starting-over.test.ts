/** Another start after an exec, and no end without one. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import type { MigrationEvent, Report } from '../../source-agent/report.js';
import { mostStarts, startingOver } from '../../source-agent/starting-over.js';

const exec = () => new MigrationError('process-exec', 'process 1 became /bin/b');

async function run(fails: Error[], signal?: AbortSignal) {
  const events: MigrationEvent[] = [];
  let attempts = 0;
  const result = await startingOver(
    { onEvent: (event) => events.push(event), ...(signal && { signal }) },
    async () => {
      const failure = fails[attempts++];
      if (failure) throw failure;
      return { totalMs: -1, notes: [] as string[] } as unknown as Report;
    },
  ).catch((error: MigrationError) => error);
  return { events, attempts, result };
}

test('without an exec nothing starts over', async () => {
  assert.equal((await run([])).events, []);
  const { attempts, result } = await run([new MigrationError('link-lost', 'gone')]);
  assert.is((result as MigrationError).code, 'link-lost');
  assert.is(attempts, 1);
});

test('after an exec it starts over, and says so', async () => {
  const { events, result } = await run([exec()]);
  assert.equal(events, [{ event: 'restart', start: 2, most: mostStarts, what: 'process 1 became /bin/b' }]);
  assert.ok((result as Report).notes[0]!.endsWith('the migration started 2 times'));
  assert.ok((result as Report).totalMs >= 0);
});

test('it gives up in the end', async () => {
  const { events, attempts, result } = await run(Array.from({ length: 10 }, exec));
  assert.is((result as MigrationError).code, 'process-exec');
  assert.is(attempts, mostStarts);
  assert.is(events.length, mostStarts - 1);
});

test('not where it was told to stop', async () => {
  const { attempts, result } = await run([exec()], AbortSignal.abort());
  assert.is((result as MigrationError).code, 'interrupted');
  assert.is(attempts, 1);
});

test.run();
