/** Which tracker a migration takes, why, and what it does where one is taken already. */
import { writeFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FailureReport, Report } from '../../source-agent/report.js';
import { trackerNames } from '../../source-agent/tracker/index.js';
import { probeTracker } from '../../source-agent/tracker/probes.js';
import { ProgramRun } from '../support/programs.js';
import { isAvailable } from '../support/trackers.js';
import { type MoveResult, TwoHosts } from '../support/two-hosts.js';

const works = (name: (typeof trackerNames)[number]) => probeTracker(name) === null;

function moved({ code, result, output }: MoveResult, log: string): Report {
  assert.is(code, 0, `${output}\n${log}`);
  return result as Report;
}

function failed({ code, result, output }: MoveResult, exit: number): FailureReport {
  assert.is(code, exit, output);
  return result as FailureReport;
}

async function checked(run: ProgramRun): Promise<void> {
  assert.equal((await run.check()).failures, []);
  assert.ok(run.lines().includes('PASS'));
}

test('the best that works is taken, and both told', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('writer', { options: ['--mb', '8', '--rate', '5', '--window', '2'] });
  const move = await hosts.move(run.pid);
  const { tracker, trackerWhy } = moved(move, hosts.targetLog);
  assert.is(tracker, trackerNames.find(works));
  const event = { event: 'tracker', tracker, why: trackerWhy };
  assert.ok(move.output.split('\n').includes(JSON.stringify(event)));
  await checked(run);
});

test('stop and copy carries everything in one freeze', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('memory');
  const report = moved(await hosts.move(run.pid, '--tracker', 'none'), hosts.targetLog);
  assert.is(report.tracker, 'none');
  assert.is(report.rounds, 1);
  assert.ok(report.bytes.memory > 1 << 20);
  assert.is(report.bytes.lastRound, report.bytes.memory);
  await checked(run);
});

test('memory that somebody else watches by userfaultfd is tracked in another way', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('watched');
  const { tracker, trackerWhy } = moved(await hosts.move(run.pid), hosts.targetLog);
  assert.is(tracker, works('soft-dirty') ? 'soft-dirty' : 'none');
  if (works('userfault')) assert.match(trackerWhy, /watched by another userfaultfd/);
  await checked(run);
});

if (isAvailable('userfault')) {
  test('a tracker that was asked for is not replaced', async () => {
    await using hosts = await TwoHosts.start();
    using run = await ProgramRun.start('watched');
    const { code } = failed(await hosts.move(run.pid, '--tracker', 'userfault'), 3);
    assert.is(code, 'tracker-taken');
    await checked(run);
  });
}

test('memory whose missing pages somebody else brings is refused', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('watched', { options: ['--missing'] });
  const { code, what } = failed(await hosts.move(run.pid), 3);
  assert.is(code, 'mapping-kind');
  assert.match(what, /userfaultfd/);
  await checked(run);
});

test('a tracker that is not there is refused by name', async () => {
  const missing = trackerNames.find((name) => !works(name));
  if (missing === undefined) return;
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('process');
  const { code, what } = failed(await hosts.move(run.pid, '--tracker', missing), 3);
  assert.is(code, 'tracker-unavailable');
  assert.match(what, new RegExp(`^tracker ${missing} `));
  await checked(run);
});

if (!works('soft-dirty')) {
  test('--on-stall cancel gives up where only stop and copy is left', async () => {
    await using hosts = await TwoHosts.start();
    using run = await ProgramRun.start('watched');
    const { code } = failed(await hosts.move(run.pid, '--on-stall', 'cancel'), 5);
    assert.is(code, 'downtime-exceeded');
    await checked(run);
  });
}

if (isAvailable('soft-dirty')) {
  test('bits that somebody else cleared end the migration, not the program', async () => {
    await using hosts = await TwoHosts.start();
    using run = await ProgramRun.start('writer', {
      options: ['--mb', '16', '--rate', '20', '--window', '8'],
    });
    let over = false;
    const clearing = setInterval(() => {
      if (!over) writeFileSync(`/proc/${run.pid}/clear_refs`, '4');
    }, 20);
    const result = await hosts.move(run.pid, '--tracker', 'soft-dirty');
    over = true;
    clearInterval(clearing);
    assert.is(failed(result, 3).code, 'tracker-taken');
    await checked(run);
  });
}

test.run();
