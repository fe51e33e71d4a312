// time limit: 600 s
/** Hosts that differ: each difference is named with what it would break, and a person may accept some of them. */
import { execFileSync } from 'node:child_process';
import {
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { extendedStatesOf } from '../../shared/cpu-features.js';
import type { ErrorCode } from '../../shared/errors.js';
import type { FailureReport, Report } from '../../source-agent/report.js';
import { type Difference, differingAgent } from '../support/differing-agent.js';
import { ProgramRun, type StartOptions } from '../support/programs.js';
import { skip } from '../support/skips.js';
import { command, type MoveResult, TwoHosts } from '../support/two-hosts.js';
import { lookAt, untouched } from '../support/untouched.js';

const folder = mkdtempSync(join(tmpdir(), 'godwit-differing-'));
const usual = await TwoHosts.start();
test.after(async () => {
  await usual[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const states = extendedStatesOf(native.cpuid, native.enabledStates());
const end = Math.max(576, ...states.map(({ offset, bytes }) => offset + bytes));
/** Registers so many that the alternate stacks of the program do not hold them. */
const wide = { component: 40, offset: end, bytes: 32 << 10, dynamic: false };

async function against(difference: Difference, use: (hosts: TwoHosts) => Promise<void>): Promise<void> {
  await using hosts = await TwoHosts.start({ agent: differingAgent(difference) });
  await use(hosts);
}

async function running(options: string[], use: (run: ProgramRun) => Promise<void>, start: StartOptions = {}) {
  using run = await ProgramRun.start('refused', { options, ...start });
  await use(run);
  assert.equal((await run.check()).failures, []);
}

const forcing = (...codes: string[]) => codes.flatMap((code) => ['--force', code]);
const codesOf = ({ result }: MoveResult) => (result as FailureReport).blockers.map(({ code }) => code);

/** It is refused for exactly these reasons, and goes on as it was. */
async function assertRefused(
  hosts: TwoHosts,
  { pid }: ProgramRun,
  codes: ErrorCode[],
  ...options: string[]
): Promise<FailureReport> {
  const before = lookAt(pid);
  const moved = await hosts.move(pid, ...options);
  assert.equal(codesOf(moved), codes, moved.output);
  assert.is(moved.code, 3, moved.output);
  assert.equal(await untouched(pid, before), [], moved.output);
  return moved.result as FailureReport;
}

/** It is moved, and what was accepted is told on both sides. */
async function assertForced(hosts: TwoHosts, { pid }: ProgramRun, codes: ErrorCode[], ...options: string[]) {
  const { code, result, output } = await hosts.move(pid, ...forcing(...codes), ...options);
  assert.is(code, 0, output);
  for (const each of codes) {
    const told = (result as Report).notes.filter((note) => note.startsWith(`forced (${each}): `));
    assert.is(told.length > 0, true, `${each} is in no note: ${output}`);
  }
}

const different: Difference = {
  facts: { cpuFeatures: ['sse2'], possibleCpus: 4096, kernelRelease: '3.10.0', tscKilohertz: 1 },
  wallClockAheadSeconds: 3600,
};
const all: ErrorCode[] = ['wall-clock', 'cpu-features', 'more-cpus', 'kernel-older'];

test('all differences in one list, with what each breaks; some, then all of them accepted', () =>
  against(different, (hosts) =>
    running([], async (run) => {
      const { blockers } = await assertRefused(hosts, run, all, ...forcing('tsc-frequency'));
      for (const { breaks, forceable } of blockers) assert.ok(breaks && forceable);
      assert.match(blockers[1]!.what, /the target CPU lacks .*\bcx16\b/);
      const rest = ['tsc-frequency', 'wall-clock', 'cpu-features'];
      await assertRefused(hosts, run, ['more-cpus', 'kernel-older'], ...forcing(...rest));
      const { address } = hosts.target;
      const check = await hosts.run([
        ...command,
        'check',
        String(run.pid),
        address,
        ...forcing(...all, 'tsc-frequency'),
      ]);
      assert.is(check.code, 0, check.output);
      const { forced } = check.result as unknown as { forced: { code: string }[] };
      assert.equal(forced.map(({ code }) => code).sort(), [...all, 'tsc-frequency'].sort());
      await assertForced(hosts, run, all, ...forcing('tsc-frequency'));
      assert.match(hosts.targetLog, /forced \(more-cpus\): the target may have 4096 CPUs/);
    }),
  ));

test('a target that lets nothing be forced', () =>
  against({ facts: { possibleCpus: 4096 }, allow: 'none' }, (hosts) =>
    running([], async (run) => {
      await assertRefused(hosts, run, ['more-cpus'], ...forcing('more-cpus'));
    }),
  ));

test('alternate signal stacks that do not hold the frames of the target: found at the first stop', () =>
  against({ facts: { extendedStates: [...states, wide] } }, async (hosts) => {
    using run = await ProgramRun.start('threads');
    const { blockers } = await assertRefused(hosts, run, Array(10).fill('signal-stack'));
    assert.match(
      blockers[0]!.what,
      /alternate signal stack of thread \d+ \(.+\) has 32768 bytes: .* do not fit/,
    );
    await assertForced(hosts, run, ['signal-stack']);
    assert.equal((await run.check()).failures, []);
  }));

test('a target on which monotonic time would go back', async () => {
  const younger = ['unshare', '--time', '--fork', '--kill-child', '--monotonic=-1000', '--boottime=-1000'];
  await using hosts = await TwoHosts.start({ agent: [...younger, ...command] });
  await running([], async (run) => {
    const { blockers } = await assertRefused(hosts, run, ['clock-backwards', 'clock-backwards']);
    assert.match(blockers[0]!.what, /CLOCK_MONOTONIC would go back by (999|1000)\.\d+ s/);
    await assertForced(hosts, run, ['clock-backwards']);
  });
});

test('more mappings than the target allows', () =>
  running(['--mappings'], async (run) => {
    const { blockers } = await assertRefused(usual, run, ['target-limit']);
    assert.match(blockers[0]!.what, /has \d+ mappings, the target allows \d+ \(vm.max_map_count\)/);
    assert.is(blockers[0]!.forceable, false);
  }));

if (states.some(({ component }) => component === 18))
  test('registers that the program had to ask for', () =>
    running(['--extensions'], async (run) => {
      const before = lookAt(run.pid);
      const { result, output } = await usual.move(run.pid);
      assert.is((result as FailureReport).code, 'unreadable-state', output);
      assert.match((result as FailureReport).what, /advanced matrix extensions/);
      assert.equal(await untouched(run.pid, before), []);
    }));
else skip('matrix-extensions', 'XCR0 has no tile data');

// ---------------------------------------------------------------- files

function bindOnTarget(other: string, original: string): Disposable {
  const run = (...argv: string[]) => {
    const [program, ...rest] = [...usual.target.within, ...argv];
    execFileSync(program!, rest);
  };
  run('mount', '--bind', other, original);
  return { [Symbol.dispose]: () => run('umount', '--lazy', original) };
}

test('an open file with another content, the same in time and size, that a person accepts', async () => {
  const [file, other] = [join(folder, 'log'), join(folder, 'other-log')];
  for (const [path, content] of [
    [file, 'content'],
    [other, 'CONTENT'],
  ] as const) {
    writeFileSync(path, content);
    utimesSync(path, 1000, 1000);
  }
  using _other = bindOnTarget(other, file);
  await running(['--open', file], async (run) => {
    await assertRefused(usual, run, ['file-differs']);
    await assertForced(usual, run, ['file-differs']);
  });
});

test('a library that was built again, the same in time and size', async () => {
  const build = (path: string, number: number) => {
    const source = join(folder, 'library.c');
    writeFileSync(source, `int number(void) { return ${number}; }\n`);
    execFileSync('cc', ['-shared', '-fPIC', '-Wl,--build-id', '-o', path, source]);
    utimesSync(path, 1000, 1000);
  };
  const [library, other] = [join(folder, 'library.so'), join(folder, 'other.so')];
  build(library, 1);
  build(other, 2);
  assert.is(statSync(library).size, statSync(other).size);
  const env = { PATH: '/usr/bin:/bin', LD_PRELOAD: library };
  const test = async (run: ProgramRun) => {
    assert.match(readFileSync(`/proc/${run.pid}/maps`, 'utf8'), /library\.so/);
    {
      using _other = bindOnTarget(other, library);
      await assertRefused(usual, run, ['mapped-file-differs']);
      const forced = await usual.move(run.pid, '--force', 'mapped-file-differs');
      assert.is(forced.code, 2, forced.output);
      assert.match(forced.output, /--force takes one of cpu-features, .*, not "mapped-file-differs"/);
    }
    // Large ones are known by their build ids, which find it as well, and nothing else.
    for (const path of [library, other]) truncateSync(path, 17 << 20);
    {
      using _other = bindOnTarget(other, library);
      await assertRefused(usual, run, ['mapped-file-differs']);
    }
    truncateSync(library, 17 << 20);
  };
  await running([], test, { env });
});

test('files too large to be compared unasked', async () => {
  const [file, other] = [join(folder, 'large'), join(folder, 'other-large')];
  for (const path of [file, other]) {
    writeFileSync(path, '');
    truncateSync(path, 5 * 2 ** 30);
  }
  using _other = bindOnTarget(other, file);
  await running(['--open', file], async (run) => {
    const { blockers } = await assertRefused(usual, run, ['file-uncompared']);
    assert.match(blockers[0]!.what, /large \(5120 MiB\) was not compared/);
    await assertForced(usual, run, ['file-uncompared']);
  });
});

test.run();
