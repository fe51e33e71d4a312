// time limit: 600 s
/**
 * Programs whose vdso is not that of the target. On one kernel: a byte of the image's header that nobody reads is changed
 * in the program, so that it holds another vdso than the target makes.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseMaps } from '../../shared/proc/mappings.js';
import { kernelVdso } from '../../shared/vdso.js';
import { ProgramRun } from '../support/programs.js';
import { TwoHosts } from '../support/two-hosts.js';

/** Padding of e_ident, elf(5). */
const unusedOffset = 12;

const mappingsOf = (pid: number) => parseMaps(readFileSync(`/proc/${pid}/maps`, 'utf8'));

function makeForeign(pid: number): void {
  const memory = openSync(`/proc/${pid}/mem`, 'r+');
  writeSync(memory, Uint8Array.of(1), 0, 1, Number(kernelVdso(mappingsOf(pid))!.start) + unusedOffset);
  closeSync(memory);
}

async function assertMoved(moving: ReturnType<TwoHosts['move']>, hosts: TwoHosts): Promise<number> {
  const { code, result, output } = await moving;
  assert.is(code, 0, `${output}\n${hosts.targetLog}`);
  assert.is(result.outcome, 'moved');
  return (result as { innerPid: number }).innerPid;
}

async function assertPassed(run: ProgramRun): Promise<void> {
  const { failures } = await run.check();
  assert.equal(failures, []);
  assert.ok(run.lines().includes('PASS'));
}

for (const options of [[], ['--threads', '16', '--ignore-trap'], ['--handler']]) {
  test(`entry points lead to the target's vdso ${options.join(' ')}`, async () => {
    await using hosts = await TwoHosts.start();
    using run = await ProgramRun.start('vdso', { options });
    const home = kernelVdso(mappingsOf(run.pid))!;
    makeForeign(run.pid);
    const innerPid = await assertMoved(hosts.move(run.pid), hosts);
    const there = mappingsOf(hosts.target.find(innerPid)!.pid);
    assert.is.not(kernelVdso(there)!.start, home.start);
    const image = there.find(({ start, end }) => start <= home.start && home.start < end)!;
    assert.is(image.path, '');
    assert.ok(image.execute && !image.write);
    await assertPassed(run);
  });
}

test('further moves pile nothing up', async () => {
  await using hosts = await TwoHosts.start({ withHome: true });
  using run = await ProgramRun.start('vdso');
  const shape = (pid: number) =>
    mappingsOf(pid).map(
      ({ start, end, path }) => `${path.startsWith('[v') ? '' : start} ${end - start} ${path}`,
    );
  makeForeign(run.pid);
  const innerPid = await assertMoved(hosts.move(run.pid), hosts);
  const first = hosts.target.find(innerPid)!.pid;
  const before = shape(first).sort();
  // To a kernel that has the same as this one: it stays where it is.
  const place = kernelVdso(mappingsOf(first))!.start;
  await assertMoved(hosts.moveBack(innerPid), hosts);
  assert.is(kernelVdso(mappingsOf(run.pid))!.start, place);
  assert.equal(shape(run.pid).sort(), before);
  // And to a third one.
  makeForeign(run.pid);
  await assertMoved(hosts.move(run.pid), hosts);
  assert.equal(shape(hosts.target.find(innerPid)!.pid).sort(), before);
  await assertPassed(run);
});

test.run();
