// time limit: 300 s
/** A migration that breaks off before the decision leaves the source as it was; after it the target needs nobody. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, linkSync, readFileSync, renameSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { eachLine } from '../../cli/demo/lines.js';
import { listJournals } from '../../shared/journal.js';
import type { Entry } from '../../shared/journal-format.js';
import type { FailureReport, MigrationEvent } from '../../source-agent/report.js';
import { ProgramRun } from '../support/programs.js';
import { scaled } from '../support/time.js';
import { command, TwoHosts } from '../support/two-hosts.js';
import { lookAt, untouched } from '../support/untouched.js';

/** A program whose first round takes half a minute. */
const slow = { options: ['--resident', '64'], bandwidth: '2M' };

interface Attempt {
  child: ChildProcess;
  /** Resolves when the step has begun. */
  reached: (step: string) => Promise<void>;
  ended: Promise<{ code: number | null; result: FailureReport; output: string }>;
}

function start(hosts: TwoHosts, pid: number, address = hosts.target.address): Attempt {
  const [node, main] = command as [string, string];
  const given = [main, String(pid), address, '--json', '--bandwidth', slow.bandwidth];
  const child = spawn(node, [...given, '--secret-file', hosts.secretFile], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const events: MigrationEvent[] = [];
  eachLine(child.stdout!, (line) => {
    events.push(JSON.parse(line) as MigrationEvent);
    child.emit('line');
  });
  return {
    child,
    reached: async (step) => {
      while (!events.some((event) => event.event === 'step' && event.step === step)) {
        assert.is(child.exitCode, null, JSON.stringify(events));
        await once(child, 'line');
      }
    },
    ended: once(child, 'close').then(([code]) => ({
      code,
      result: events.at(-1) as unknown as FailureReport,
      output: JSON.stringify(events),
    })),
  };
}

/** Processes of the target by what they run. */
function targetProcesses(hosts: TwoHosts, program: string): number[] {
  return hosts.target.tasks().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1')
        .split('\0')
        .filter((word) => !word.startsWith('-'))
        .slice(0, 3)
        .join(' ')
        .includes(program);
    } catch {
      return false;
    }
  });
}

function killAll(pids: readonly number[]): void {
  assert.ok(pids.length > 0, 'nothing to kill');
  for (const pid of pids) process.kill(pid, 'SIGKILL');
}

async function waitFor(what: string, holds: () => boolean, timeoutMs = 15_000): Promise<void> {
  for (const deadline = performance.now() + scaled(timeoutMs); performance.now() < deadline; await sleep(10))
    if (holds()) return;
  assert.unreachable(`${what}: not within ${timeoutMs} ms`);
}

interface Break {
  what: string;
  code: string;
  exit: number;
  strike: (hosts: TwoHosts, attempt: Attempt, links: Socket[]) => void;
  /** What stays of the target's own processes. */
  remains: RegExp;
}

const breaks: Break[] = [
  {
    what: 'Ctrl-C in the middle of a round',
    code: 'interrupted',
    exit: 5,
    strike: (_hosts, { child }) => child.kill('SIGINT'),
    remains: /agent.*spawner|spawner.*agent/,
  },
  {
    what: "SIGKILL of the target's agent",
    code: 'link-lost',
    exit: 1,
    strike: (hosts) => killAll(targetProcesses(hosts, 'main.js agent')),
    remains: /^$/,
  },
  {
    what: 'SIGKILL of the shepherd',
    code: 'target-failed',
    exit: 1,
    strike: (hosts) => killAll(targetProcesses(hosts, 'shepherd.js')),
    remains: /agent.*spawner|spawner.*agent/,
  },
  {
    what: 'a cut connection',
    code: 'link-lost',
    exit: 1,
    strike: (_hosts, _attempt, links) => {
      for (const link of links) link.destroy();
    },
    remains: /agent.*spawner|spawner.*agent/,
  },
];

for (const { what, code, exit, strike, remains } of breaks) {
  test(`${what} leaves the source as it was, and nothing on the target`, async () => {
    await using hosts = await TwoHosts.start();
    using run = await ProgramRun.start('refused', slow);
    const before = lookAt(run.pid);
    const links: Socket[] = [];
    const { address, close } = await relay(hosts.target.address, links);
    const attempt = start(hosts, run.pid, address);
    await attempt.reached('rounds');
    await waitFor('pages on their way', () => hosts.target.find(run.pid) !== null);
    const struck = performance.now();
    strike(hosts, attempt, links);
    const { code: exitCode, result, output } = await attempt.ended;
    assert.is(result.code, code, output);
    assert.is(exitCode, exit, output);
    // The round would have gone on for half a minute.
    assert.ok(performance.now() - struck < scaled(15_000), 'it took its time');
    assert.equal(await untouched(run.pid, before), []);
    assert.equal((await run.check()).failures, []);
    const running = () =>
      ['agent', 'spawner', 'shepherd', 'skeleton']
        .filter((name) => targetProcesses(hosts, name === 'agent' ? 'main.js agent' : name).length > 0)
        .join(' ');
    await waitFor('a clean target', () => hosts.target.find(run.pid) === null && remains.test(running()));
    close();
  });
}

test('calls that waited go on where the last stop refuses the program', async () => {
  await using hosts = await TwoHosts.start();
  // A wait that begins again when it is interrupted ends after its slack.
  using run = await ProgramRun.start('syscalls', { options: ['--seconds', '16', '--slack', '6'] });
  await sleep(8000);
  const before = lookAt(run.pid);
  const attempt = start(hosts, run.pid);
  await attempt.reached('rounds');
  // Another file takes the place of one that is open.
  const kept = `${run.statusFile}.kept`;
  linkSync(run.statusFile, kept);
  copyFileSync(kept, `${run.statusFile}.other`);
  renameSync(`${run.statusFile}.other`, run.statusFile);
  const { code, output } = await attempt.ended;
  renameSync(kept, run.statusFile);
  assert.match(output, /file-deleted/);
  assert.is.not(code, 0, output);
  const changed = (await untouched(run.pid, before, 2000)).filter((line) => !line.includes(run.statusFile));
  assert.equal(changed, []);
  assert.equal((await run.check()).failures, []);
});

test('a process that ends during the rounds is no defect of ours', async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('refused', slow);
  const attempt = start(hosts, run.pid);
  await attempt.reached('rounds');
  run.signal('SIGKILL');
  const { code, result, output } = await attempt.ended;
  assert.is(result.code, 'process-ended', output);
  assert.is(code, 1, output);
  await waitFor('a clean target', () => hosts.target.find(run.pid) === null);
});

test("a moved process outlives the target's agent, and its end is recorded", async () => {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start('six');
  const { code, output } = await hosts.move(run.pid);
  assert.is(code, 0, output);
  killAll(targetProcesses(hosts, 'main.js agent'));
  await waitFor('the end of the spawner', () => targetProcesses(hosts, 'spawner.js').length === 0);
  const rounds = async () => (await run.ask()).map((line) => Number(/rounds=(\d+) errors=0$/.exec(line)![1]));
  const first = await rounds();
  const second = await rounds();
  assert.ok(second.every((count, i) => count >= first[i]!) && second.some((count, i) => count > first[i]!));
  assert.equal((await run.check()).failures, []);
  const state = join(hosts.folder, 'state');
  const record = () => listJournals(state)[0]!;
  const entry = () => record().entry as Entry;
  await waitFor('the record of its end', () => entry().detail === 'exit 0');
  assert.is(entry().decision, 'commit');
  assert.is(record().identity?.name, 'six');
  await waitFor('the end of the shepherd', () => targetProcesses(hosts, 'shepherd.js').length === 0);
});

/** A port that leads to another; its connections are put into `links`. */
async function relay(address: string, links: Socket[]): Promise<{ address: string; close: () => void }> {
  const [host, port] = address.split(':') as [string, string];
  const server = createServer((near) => {
    const far = connect(Number(port), host);
    links.push(near, far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('error', () => to.destroy());
      from.pipe(to);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.close();
      for (const link of links) link.destroy();
    },
  };
}

test.run();
