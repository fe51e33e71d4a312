// time limit: 300 s
/** The agent is killed while the program is held: what the journal says decides whether it goes on. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { eachLine } from '../../cli/demo/lines.js';
import { listSituations } from '../../cli/situations.js';
import { parseMountinfo } from '../../shared/proc/mountinfo.js';
import { createSecret, parseSecret } from '../../shared/secret.js';
import { FreezerCgroup } from '../../source-agent/freezer-cgroup.js';
import { findHold, holdName } from '../../source-agent/hold.js';
import { resume } from '../../source-agent/resumption.js';
import { ProgramRun } from '../support/programs.js';
import { skip } from '../support/skips.js';
import { scaled } from '../support/time.js';
import { lookAt, untouched } from '../support/untouched.js';

/** As recording-agent.ts names it. */
const testMigration = '00112233445566aa';
const agentFile = fileURLToPath(new URL('./recording-agent.js', import.meta.url));
const hasFreezer = parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')).some(
  ({ fsType, superOptions }) => fsType === 'cgroup2' || superOptions.split(',').includes('freezer'),
);

interface Agent {
  child: ChildProcess;
  migration: string;
  said: string[];
}

async function startAgent(pid: number, directory: string, way: string, decision: string): Promise<Agent> {
  const child = spawn(process.execPath, [agentFile, String(pid), directory, way, decision], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said: string[] = [];
  const migration = await new Promise<string>((resolve, reject) => {
    child.once('exit', () => reject(new Error('the agent has ended')));
    eachLine(child.stdout!, (line) => {
      said.push(line);
      const [, recorded] = /^recorded (\S+)$/.exec(line) ?? [];
      if (recorded) resolve(recorded);
    });
  });
  return { child, migration, said };
}

async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** What its threads have done so far: held threads do nothing, these work all the time. */
function work(pid: number): string {
  return readdirSync(`/proc/${pid}/task`)
    .map((tid) => readFileSync(`/proc/${pid}/task/${tid}/schedstat`, 'latin1'))
    .join('');
}

async function stands(pid: number): Promise<boolean> {
  const before = work(pid);
  await sleep(300);
  return work(pid) === before;
}

async function until(what: string, holds: () => boolean): Promise<number> {
  const started = performance.now();
  for (; !holds(); await sleep(1))
    if (performance.now() - started > scaled(10_000)) assert.unreachable(`${what}: it does not come about`);
  return performance.now() - started;
}

async function letGo(pid: number): Promise<void> {
  using hold = findHold(pid, testMigration);
  hold?.letGo();
  await hold?.remove();
}

async function withProgram(act: (run: ProgramRun, directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'godwit-journals-'));
  using run = await ProgramRun.start('six', { options: ['--tolerate-eintr'] });
  try {
    await act(run, directory);
  } finally {
    // What is frozen would not even be killed.
    if (existsSync(`/proc/${run.pid}/task`) && work(run.pid) !== '') await letGo(run.pid);
    rmSync(directory, { recursive: true });
  }
}

const ways = ['freezer', 'signal'] as const;

for (const way of ways) {
  for (const decision of ['open', 'abort']) {
    test(`held by ${way}, recorded ${decision}: it goes on when the agent is killed`, async () => {
      if (way === 'freezer' && !hasFreezer) return skip('freezer-cgroup', 'none is mounted');
      await withProgram(async (run, directory) => {
        const before = lookAt(run.pid);
        const { child } = await startAgent(run.pid, directory, way, decision);
        assert.ok(await stands(run.pid));
        const stood = work(run.pid);
        const killed = performance.now();
        await kill(child);
        await until('it runs', () => work(run.pid) !== stood);
        console.log(
          `held by ${way}, ${decision}: runs on after ${(performance.now() - killed).toFixed(1)} ms`,
        );
        assert.equal(await untouched(run.pid, before), []);
        assert.equal((await run.check()).failures, []);
      });
    });
  }

  test(`held by ${way}, recorded commit: it stays held, and a person can let it go on`, async () => {
    if (way === 'freezer' && !hasFreezer) return skip('freezer-cgroup', 'none is mounted');
    await withProgram(async (run, directory) => {
      const before = lookAt(run.pid);
      const { child, migration } = await startAgent(run.pid, directory, way, 'commit');
      await kill(child);
      await until('the helper has decided', () => listSituations(directory)[0]!.state === 'waiting');
      assert.ok(await stands(run.pid));
      const [listed] = listSituations(directory);
      assert.is(listed!.pid, run.pid);
      assert.match(listed!.what, /the process stands still/);
      const risks = listed!.choices.filter(({ risk }) => risk !== null).map(({ command }) => command);
      assert.equal(risks, ['abort', 'resume']);
      // The target would be told, but cannot be reached.
      const secret = () => parseSecret(createSecret(), 'none');
      const { outcome } = await resume({ directory, migration, secret, want: 'abort', alone: true });
      assert.is(outcome, 'kept');
      assert.equal(await untouched(run.pid, before), []);
      assert.equal((await run.check()).failures, []);
    });
  });
}

test('nobody else lets it go unnoticed', async () => {
  if (!hasFreezer) return skip('freezer-cgroup', 'none is mounted');
  await withProgram(async (run, directory) => {
    const { child, migration, said } = await startAgent(run.pid, directory, 'freezer', 'commit');
    run.signal('SIGCONT');
    using cgroup = FreezerCgroup.find(run.pid, `godwit-${migration}`)!;
    assert.ok(cgroup.isFrozen);
    cgroup.thaw();
    await until('it is held again', () => cgroup.isFrozen);
    await until('the agent hears of it', () => said.includes('thawed'));
    await kill(child);
    assert.ok(await stands(run.pid));
  });
});

test('both versions of the freezer hold', async () => {
  await withProgram(async (run) => {
    for (const version of [1, 2] as const) {
      let cgroup: FreezerCgroup;
      try {
        cgroup = FreezerCgroup.make(run.pid, holdName(testMigration), [version]);
      } catch {
        skip('freezer-cgroup', `of version ${version}`);
        continue;
      }
      const before = lookAt(run.pid).filter((line) => !line.startsWith('cgroup'));
      cgroup.freeze();
      await until('it stands', () => cgroup.isFrozen);
      await sleep(100);
      assert.ok(await stands(run.pid));
      cgroup.thaw();
      await cgroup.putBack();
      const left = (await untouched(run.pid, before)).filter((line) => !line.includes('cgroup'));
      assert.equal(left, []);
    }
    assert.equal((await run.check()).failures, []);
  });
});

test.run();
