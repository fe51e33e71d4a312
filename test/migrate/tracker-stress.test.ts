// time limit: 900 s
/**
 * The tracker's stress: writers over anonymous, huge and private-file memory with reads into it, dropped pages,
 * protections taken and given back, moved, grown and new mappings, moved thirty times, and compared byte by byte.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgramRun } from '../support/programs.js';
import { TwoHosts } from '../support/two-hosts.js';

const moves = 30;

for (const options of [[], ['--uid', '65534']]) {
  test(`${moves} moves of writers ${options.length > 0 ? 'as uid 65534' : 'as root'}`, async () => {
    await using hosts = await TwoHosts.start({ withHome: true });
    using run = await ProgramRun.start('memory-churn', { options: ['--mb', '24', ...options] });
    for (let move = 0; move < moves; move += 1) {
      const { code, output } = move % 2 === 0 ? await hosts.move(run.pid) : await hosts.moveBack(run.pid);
      assert.is(code, 0, `move ${move}: ${output}\n${hosts.targetLog}`);
      const failures = run.lines().filter((line) => line.startsWith('FAIL'));
      assert.equal(failures, [], `after move ${move}`);
    }
    const { failures } = await run.check();
    assert.equal(failures, []);
  });
}

test.run();
