// time limit: 600 s
/** Real programs from Debian, moved while they work, then asked to check themselves. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compileCpp, ProgramRun } from '../support/programs.js';
import { TwoHosts } from '../support/two-hosts.js';

const real = fileURLToPath(new URL('../../../test/real/', import.meta.url));
const hops = 10;

/** Words, one a line, all different. */
function writeInput(folder: string): string {
  const file = join(folder, 'input');
  writeFileSync(file, Array.from({ length: 5000 }, (_, i) => `word-${i}-${(i * 7919) % 104729}\n`).join(''));
  return file;
}

async function moveOnceAndCheck(run: ProgramRun, hosts: TwoHosts): Promise<void> {
  await sleep(300);
  const { code, output } = await hosts.move(run.pid);
  assert.is(code, 0, `${output}\n${hosts.targetLog}`);
  await sleep(300);
  const { failures } = await run.check();
  assert.equal(failures, []);
}

test('python3 with four threads and 256 MB of live objects, there and back ten times', async () => {
  await using hosts = await TwoHosts.start({ withHome: true });
  using run = await ProgramRun.command('objects', (status) => [
    '/usr/bin/python3',
    join(real, 'objects.py'),
    status,
    '256',
  ]);
  let rounds = 0;
  for (let hop = 0; hop < hops; hop += 1) {
    const { code, output } = hop % 2 === 0 ? await hosts.move(run.pid) : await hosts.moveBack(run.pid);
    assert.is(code, 0, `hop ${hop}: ${output}\n${hosts.targetLog}`);
    const [line] = await run.ask();
    const now = line!
      .split(' ')
      .slice(1)
      .reduce((sum, count) => sum + Number(count), 0);
    assert.ok(now > rounds, `it works on after hop ${hop}`);
    rounds = now;
  }
  // It came home: one level of pid namespaces, as at the start.
  const status = execFileSync('grep', ['NSpid', `/proc/${run.pid}/status`]).toString();
  assert.is(status, `NSpid:\t${run.pid}\n`);
  const { failures } = await run.check(120_000);
  assert.equal(failures, []);
});

test('a C++ program of several threads with AVX state', async () => {
  await using hosts = await TwoHosts.start();
  const program = compileCpp(join(real, 'simd.cc'));
  using run = await ProgramRun.command('simd', (status) => [program, status]);
  await moveOnceAndCheck(run, hosts);
});

test('perl reading one file and appending to another', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-perl-'));
  try {
    await using hosts = await TwoHosts.start();
    const input = writeInput(folder);
    using run = await ProgramRun.command('filter', (status) => [
      'perl',
      join(real, 'filter.pl'),
      status,
      input,
      join(folder, 'output'),
    ]);
    await moveOnceAndCheck(run, hosts);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('gawk reading a file over and over', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-gawk-'));
  try {
    await using hosts = await TwoHosts.start();
    const input = writeInput(folder);
    using run = await ProgramRun.command('sum', (status) => [
      'gawk',
      ...['-v', `status=${status}`, '-v', `input=${input}`, '-v', `output=${join(folder, 'output')}`],
      ...['-f', join(real, 'sum.awk')],
    ]);
    await moveOnceAndCheck(run, hosts);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
