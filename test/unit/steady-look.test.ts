/** What stands in the way of a running program is there in every look. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Blocker } from '../../shared/errors.js';
import { steadily } from '../../source-agent/steady-look.js';

const blocker = (object: string): Blocker => ({ code: 'file-deleted', what: `${object} is gone`, object });
const pauses = [0, 0, 0];

function looks(...seen: (string[] | Error)[]) {
  let n = 0;
  return () => {
    const now = seen[n++]!;
    if (now instanceof Error) throw now;
    return { number: n, blockers: now.map(blocker) };
  };
}

test('nothing in the way: one look', async () => {
  assert.equal(await steadily(looks([]), () => {}, pauses), { number: 1, blockers: [] });
});

test('what was there but once is no reason', async () => {
  assert.equal((await steadily(looks(['a'], ['b']), () => {}, pauses)).blockers, []);
});

test('what is there each time is one, told as the last look has it', async () => {
  const { number, blockers } = await steadily(
    looks(['a', 'b'], ['a', 'c'], ['a'], ['d', 'a']),
    () => {},
    pauses,
  );
  assert.is(number, 4);
  assert.equal(blockers, [blocker('a')]);
});

test('a look that fails is made again, and the last failure is told', async () => {
  assert.equal((await steadily(looks(new Error('gone'), []), () => {}, pauses)).blockers, []);
  const broken = () =>
    steadily(looks(...pauses.map(() => new Error('gone')), new Error('last')), () => {}, pauses);
  assert.is(await broken().catch((error: Error) => error.message), 'last');
});

test('another program is not looked at', async () => {
  const other = () => {
    throw new Error('another');
  };
  assert.is(
    await steadily(looks(['a'], []), other, pauses).catch((error: Error) => error.message),
    'another',
  );
});

test.run();
