// time limit: 900 s
/**
 * The source's agent is killed with SIGKILL at random moments before the decision: the program runs on, right and
 * unchanged, and the target keeps nothing of it. 40 kills; 200 with GODWIT_NIGHTLY=1. GODWIT_SEED repeats a plan.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { eachLine } from '../../cli/demo/lines.js';
import { skeletonProgram } from '../../native/index.js';
import { listJournals } from '../../shared/journal.js';
import type { MigrationEvent } from '../../source-agent/report.js';
import { ProgramRun } from '../support/programs.js';
import { chosenSeed, nightly, Random } from '../support/random.js';
import { repetitions, scaled } from '../support/time.js';
import { command, TwoHosts } from '../support/two-hosts.js';
import { differences, lookAt, untouched } from '../support/untouched.js';

const kills = repetitions(nightly ? 200 : 40);

/** When to kill: so long after the agent has begun a step, or after its own start. */
interface Moment {
  after: 'start' | 'preflight' | 'arm' | 'rounds' | 'settle' | 'freeze' | 'commit';
  delayMs: number;
}

/** Most moments lie in the three stops, which take some milliseconds each. */
function choose(random: Random): Moment {
  const dice = random.next();
  if (dice < 0.35) return { after: 'arm', delayMs: random.below(16) };
  if (dice < 0.55) return { after: 'settle', delayMs: random.below(20) };
  if (dice < 0.8) return { after: 'freeze', delayMs: random.below(16) };
  if (dice < 0.83) return { after: 'rounds', delayMs: random.below(300) };
  if (dice < 0.86) return { after: 'commit', delayMs: random.below(6) };
  if (dice < 0.92) return { after: 'preflight', delayMs: random.below(250) };
  return { after: 'start', delayMs: random.below(900) };
}

interface Attempt {
  killed: boolean;
  /** What the main thread was doing at the kill: t when it was held. */
  state: string;
  lastStep: string;
  output: string;
}

/** Runs `migrate` and kills it at that moment, unless it was over before. */
async function attempt(hosts: TwoHosts, pid: number, { after, delayMs }: Moment): Promise<Attempt> {
  const [node, main] = command as [string, string];
  const given = [main, String(pid), hosts.target.address, '--json', '--secret-file', hosts.secretFile];
  const child = spawn(node, given, { stdio: ['ignore', 'pipe', 'pipe'] });
  const result: Attempt = { killed: false, state: '', lastStep: 'start', output: '' };
  const kill = () => {
    if (child.exitCode !== null || result.killed) return;
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    child.kill('SIGKILL');
    result.state = stat[stat.lastIndexOf(')') + 2]!;
    result.killed = true;
  };
  child.stderr.on('data', (text) => {
    result.output += text;
  });
  eachLine(child.stdout, (line) => {
    result.output += `${line}\n`;
    const event = JSON.parse(line) as MigrationEvent;
    if (event.event !== 'step') return;
    result.lastStep = event.step;
    if (event.step !== after) return;
    // Timers are too coarse for a stop of some milliseconds.
    if (delayMs > 50) setTimeout(kill, delayMs);
    else {
      for (const until = performance.now() + delayMs; performance.now() < until; );
      kill();
    }
  });
  if (after === 'start') setTimeout(kill, delayMs);
  await once(child, 'close');
  return result;
}

/** Processes of the target's own; what belongs to a migration comes on top. */
async function targetIsClean(hosts: TwoHosts, usual: number): Promise<boolean> {
  for (const deadline = performance.now() + scaled(15_000); performance.now() < deadline; await sleep(10))
    if (hosts.target.tasks().length === usual) return true;
  return false;
}

/** Stand-ins with which the agent has rehearsed: they end with it. */
async function standInsEnd(): Promise<boolean> {
  const left = () =>
    readdirSync('/proc').filter((entry) => {
      try {
        return /^\d+$/.test(entry) && readlinkSync(`/proc/${entry}/exe`) === skeletonProgram;
      } catch {
        return false;
      }
    });
  for (const deadline = performance.now() + scaled(5000); performance.now() < deadline; await sleep(10))
    if (left().length === 0) return true;
  return false;
}

async function startSix(): Promise<{ run: ProgramRun; before: string[] }> {
  const run = await ProgramRun.start('six', { options: ['--tolerate-eintr'] });
  return { run, before: lookAt(run.pid) };
}

/** All six threads get on, and none has found anything wrong. */
async function assertWorking(run: ProgramRun, message: string): Promise<void> {
  const rounds = async () => {
    const counters = (await run.ask()).filter((line) => line.startsWith('COUNTER'));
    assert.is(counters.length, 6, message);
    for (const line of counters) assert.match(line, /errors=0$/, message);
    return counters.map((line) => Number(/rounds=(\d+)/.exec(line)![1]));
  };
  const first = await rounds();
  let now = first;
  for (
    const deadline = performance.now() + scaled(10_000);
    performance.now() < deadline;
    now = await rounds()
  )
    if (now.every((count, i) => count > first[i]!)) return;
  assert.unreachable(`a thread stands still: ${first} then ${now}; ${message}`);
}

/** What was recorded stays held until it is resumed, and a target that holds a copy waits for a word. */
async function resumeOpen(hosts: TwoHosts, message: string): Promise<void> {
  const directory = join(hosts.folder, 'journals');
  for (const { migration, role, entry } of listJournals(directory)) {
    if (role !== 'source' || entry === 'damaged' || entry.settled) continue;
    for (const deadline = performance.now() + scaled(15_000); ; await sleep(50)) {
      const { code, output } = await hosts.run([...command, 'resume', migration]);
      if (code === 0) break;
      // The dead agent's helper, or the target, may still be at work.
      assert.ok(performance.now() < deadline, `${output}; ${message}`);
    }
  }
}

/** Where the decision was reached the program is brought to an end here, or there; never running twice. */
async function assertOnlyOne(hosts: TwoHosts, pid: number, message: string): Promise<boolean> {
  await resumeOpen(hosts, message);
  const runsHere = () => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'latin1');
      return !/^State:\s*[TZX]/m.test(status);
    } catch {
      return false;
    }
  };
  // Its threads stop when the agent's end lets them go.
  for (const deadline = performance.now() + scaled(5000); performance.now() < deadline && runsHere(); )
    await sleep(5);
  const here = runsHere();
  const there = hosts.target.find(pid) !== null;
  assert.not.ok(here && there, `two copies: ${message}`);
  return here;
}

test(`the source survives ${kills} kills of its agent`, async () => {
  const seed = chosenSeed();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  await using hosts = await TwoHosts.start();
  const usual = hosts.target.tasks().length;
  let { run, before } = await startSix();
  const seen = { held: 0, decided: 0, moved: 0, steps: {} as Record<string, number> };
  const finish = async () => {
    const { failures } = await run.check();
    assert.equal(failures, [], `seed ${seed}`);
  };
  try {
    for (let survived = 0; survived < kills; ) {
      const moment = choose(random);
      const { killed, state, lastStep, output } = await attempt(hosts, run.pid, moment);
      const message = `seed ${seed}, kill ${survived}, ${moment.delayMs.toFixed(3)} ms after ${moment.after}: ${output}`;
      const decided = lastStep === 'commit';
      if (!killed) assert.ok(decided, `ended by itself: ${message}`);
      if (decided && !(await assertOnlyOne(hosts, run.pid, message))) {
        seen[killed ? 'decided' : 'moved'] += 1;
        hosts.killOnTarget(run.pid);
        run[Symbol.dispose]();
        assert.ok(await targetIsClean(hosts, usual), message);
        ({ run, before } = await startSix());
        continue;
      }
      assert.equal(await untouched(run.pid, before), [], message);
      await assertWorking(run, message);
      assert.ok(await targetIsClean(hosts, usual), `the target keeps something: ${message}`);
      assert.ok(await standInsEnd(), `a stand-in goes on: ${message}`);
      survived += 1;
      if (state === 't') seen.held += 1;
      seen.steps[lastStep] = (seen.steps[lastStep] ?? 0) + 1;
      // A program that has lived long enough says what it thinks of it all, and another one follows.
      if (survived % 50 === 0) {
        await finish();
        run[Symbol.dispose]();
        ({ run, before } = await startSix());
      }
    }
    await finish();
    console.log(
      `${kills} survived, ${seen.held} of them while held; in the steps ${JSON.stringify(seen.steps)};`,
      `${seen.decided} after the decision, ${seen.moved} moved before the kill`,
    );
    assert.ok(seen.held > kills / 10, 'the stops were hardly ever hit');
  } finally {
    run[Symbol.dispose]();
  }
});

test('the comparison sees what an agent would leave behind', async () => {
  const { run, before } = await startSix();
  using program = run;
  assert.equal(differences(before, lookAt(program.pid)), []);
  assert.not.equal(differences([...before, 'descriptor 77 socket:[1]'], lookAt(program.pid)), []);
  program.signal('SIGSTOP');
  // The signal takes its time to arrive.
  const deadline = performance.now() + scaled(10_000);
  const stopped = () => differences(before, lookAt(program.pid)).some((line) => line.includes('stopped'));
  while (!stopped()) assert.ok(performance.now() < deadline, 'the comparison does not see a stopped process');
  program.signal('SIGCONT');
  assert.equal(await untouched(program.pid, before), []);
});

test.run();
