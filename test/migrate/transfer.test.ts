// time limit: 300 s
/** What the wire can be told: compression, bandwidth, comparing contents; and what arrives all the same. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Report } from '../../source-agent/report.js';
import { ProgramRun } from '../support/programs.js';
import { TwoHosts } from '../support/two-hosts.js';

async function moved(hosts: TwoHosts, run: ProgramRun, ...options: string[]): Promise<Report> {
  const { code, result, output } = await hosts.move(run.pid, ...options);
  assert.is(code, 0, `${output}\n${hosts.targetLog}`);
  const { failures } = await run.check();
  assert.equal(failures, []);
  return result as Report;
}

test('compressed pages arrive whole', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('memory-churn', { options: ['--mb', '16'] });
  await moved(hosts, run, '--compress', 'always');
});

test('memory that compresses well takes less on the wire', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('process');
  const { bytes } = await moved(hosts, run, '--compress', 'always');
  assert.ok(bytes.wire < bytes.memory, `${bytes.wire} of ${bytes.memory}`);
});

test('a limited bandwidth is kept', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('writer', { options: ['--mb', '64', '--rate', '1', '--window', '1'] });
  const { totalMs, bytes } = await moved(hosts, run, '--bandwidth', '40MB', '--compress', 'never');
  assert.ok(bytes.wire > 64e6);
  // 64 MiB at 40 MB a second take 1.6 s; less would mean no limit, more is the machine.
  assert.ok(totalMs > 1500, `${totalMs} ms`);
});

test('contents are compared where that is asked for', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('threads');
  await moved(hosts, run, '--compare-contents');
});

test('pages of zeros never travel', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('memory');
  const { bytes } = await moved(hosts, run);
  assert.ok(bytes.zero > 0);
});

test.run();
