// time limit: 900 s
/**
 * The tracker's stress: writers over anonymous, huge and private-file memory with reads into it, dropped pages,
 * protections taken and given back, moved, grown and new mappings, moved thirty times with each tracker (stop and copy:
 * six), and compared byte by byte.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgramRun } from '../support/programs.js';
import { megabytes, repetitions } from '../support/time.js';
import { availableTrackers } from '../support/trackers.js';
import { TwoHosts } from '../support/two-hosts.js';

const moves = { userfault: repetitions(30), 'soft-dirty': repetitions(30), none: repetitions(6) } as const;
const size = `${megabytes(48)}`;

for (const tracker of availableTrackers()) {
  for (const options of [[], ['--uid', '65534']]) {
    const owner = options.length > 0 ? 'as uid 65534' : 'as root';
    test(`${moves[tracker]} moves of writers ${owner} with ${tracker}`, async () => {
      await using hosts = await TwoHosts.start({ withHome: true });
      using run = await ProgramRun.start('memory-churn', { options: ['--mb', size, ...options] });
      for (let move = 0; move < moves[tracker]; move += 1) {
        const given = [run.pid, '--tracker', tracker] as const;
        const { code, output } = move % 2 === 0 ? await hosts.move(...given) : await hosts.moveBack(...given);
        assert.is(code, 0, `move ${move}: ${output}\n${hosts.targetLog}`);
        const failures = run.lines().filter((line) => line.startsWith('FAIL'));
        assert.equal(failures, [], `after move ${move}`);
      }
      const { failures } = await run.check();
      assert.equal(failures, []);
    });
  }
}

test.run();
