// time limit: 900 s
/** Each self-checking program is moved once and then checks itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ProgramRun, type StartOptions } from '../support/programs.js';
import { TwoHosts } from '../support/two-hosts.js';

interface Variant extends StartOptions {
  name: string;
  /** Milliseconds between the program's READY and the move. */
  settleMs?: number;
}

const variants: Variant[] = [
  { name: 'memory' },
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
  // A wait that starts over on the target ends some five seconds late.
  {
    name: 'syscalls',
    options: ['--seconds', '10', '--slack', '2', '--without', 'rt_sigtimedwait'],
    settleMs: 5000,
  },
  { name: 'six' },
  { name: 'memory-churn', options: ['--mb', '32'] },
  { name: 'memory-churn', options: ['--mb', '32', '--uid', '65534'] },
  { name: 'writer', options: ['--mb', '64', '--rate', '50', '--window', '16'] },
];

for (const { name, settleMs = 0, ...start } of variants) {
  test([name, ...(start.options ?? [])].join(' '), async () => {
    await using hosts = await TwoHosts.start();
    using run = await ProgramRun.start(name, start);
    await sleep(settleMs);
    const { code, result, output } = await hosts.move(run.pid);
    assert.is(code, 0, `${output}\n${hosts.targetLog}`);
    assert.is(result.outcome, 'moved');
    const { failures } = await run.check();
    assert.equal(failures, []);
    assert.ok(run.lines().includes('PASS'));
  });
}

test.run();
