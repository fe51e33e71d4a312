// time limit: 900 s
/**
 * Each self-checking program is moved once with each tracker and then checks itself. GODWIT_PROGRAMS chooses some of
 * them: parts of their names, options and trackers, with commas between.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgramRun, type StartOptions } from '../support/programs.js';
import { megabytes } from '../support/time.js';
import { availableTrackers } from '../support/trackers.js';
import { TwoHosts } from '../support/two-hosts.js';

interface Variant extends StartOptions {
  name: string;
  /** Its memory is what it is about, or it is the whole walk once: moved without a tracker as well. */
  memory?: boolean;
  /** Milliseconds between the program's READY and the move. */
  settleMs?: number;
}

const variants: Variant[] = [
  { name: 'memory', memory: true },
  { name: 'memory-kinds' },
  { name: 'memory-kinds', options: ['--late'] },
  { name: 'memory-kinds', options: ['--lock-all'] },
  { name: 'memory-kinds', options: ['--lock-all-on-fault'] },
  { name: 'memory-kinds', options: ['--merge-all'] },
  { name: 'direct-reader' },
  { name: 'direct-reader', options: ['--reopen'] },
  { name: 'many-mappings', options: ['--count', '65000'] },
  { name: 'many-mappings', options: ['--count', '5000', '--gaps', '--churn'] },
  { name: 'threads' },
  { name: 'registers' },
  { name: 'signals' },
  { name: 'process' },
  { name: 'process', options: ['--title'] },
  { name: 'files' },
  { name: 'pipes' },
  { name: 'clocks' },
  { name: 'credentials' },
  { name: 'credentials', options: ['--uid', '65534'] },
  { name: 'credentials', options: ['--uid', '65534', '--no-new-privs'] },
  { name: 'uts' },
  { name: 'uts', options: ['--unshare'] },
  // A wait that starts over on the target ends eight seconds late.
  { name: 'syscalls', options: ['--seconds', '14', '--slack', '5'], settleMs: 8000 },
  { name: 'naps' },
  { name: 'six', memory: true },
  // As fast as it can: it maps, moves, drops, protects and fills its memory.
  { name: 'memory-churn', options: ['--mb', `${megabytes(64)}`, '--ops', '0'], memory: true },
  { name: 'memory-churn', options: ['--mb', `${megabytes(32)}`] },
  { name: 'memory-churn', options: ['--mb', `${megabytes(32)}`, '--uid', '65534'] },
  { name: 'writer', options: ['--mb', '64', '--rate', '50', '--window', '16'] },
];

const chosen = process.env.GODWIT_PROGRAMS?.split(',') ?? [''];

for (const tracker of availableTrackers()) {
  for (const { name, memory = false, settleMs = 0, ...start } of variants) {
    const title = [name, ...(start.options ?? []), 'with', tracker].join(' ');
    if ((tracker === 'none' && !memory) || !chosen.some((part) => title.includes(part))) continue;
    test(title, async () => {
      await using hosts = await TwoHosts.start();
      using run = await ProgramRun.start(name, start);
      await sleep(settleMs);
      const { code, result, output } = await hosts.move(run.pid, '--tracker', tracker);
      assert.is(code, 0, `${output}\n${hosts.targetLog}`);
      assert.is(result.outcome, 'moved');
      const { failures } = await run.check();
      assert.equal(failures, []);
      assert.ok(run.lines().includes('PASS'));
    });
  }
}

test.run();
