// time limit: 300 s
/**
 * A hand-over that another session goes on with: the target's agent, or the shepherd, is killed where it hurts, and a
 * source that comes back is told what there is. Never two, and nothing runs that was not recorded.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { listJournals } from '../../shared/journal.js';
import { newMigrationId } from '../../source-agent/migration-id.js';
import { NextAgent, processesRunning } from '../support/next-agent.js';
import { innerPid, memory, modestMappings, modestState, Peer, type Reachable } from '../support/peer.js';
import { scaled } from '../support/time.js';
import { TwoHosts } from '../support/two-hosts.js';

const recalls = suite('recalls');
let hosts: TwoHosts;
recalls.before.each(async () => {
  hosts = await TwoHosts.start();
});
recalls.after.each(() => hosts[Symbol.asyncDispose]());

const finish = {
  type: 'finish',
  epoch: 1,
  state: new Uint8Array([0x80]),
  frames: 0,
  dropped: [],
  guards: [],
  changedFiles: [],
  vdso: null,
};

/** A peer whose process the target holds. */
async function prepare(): Promise<Peer> {
  const peer = await Peer.connect(hosts);
  await peer.introduce();
  await peer.walk(
    [{ type: 'build', mappings: modestMappings(), state: modestState() }, 'built'],
    [{ type: 'settle', frames: 0, state: {}, huge: [] }, 'settled'],
    [finish, 'prepared'],
  );
  return peer;
}

async function prepared(): Promise<Peer> {
  await using peer = await prepare();
  return peer;
}

async function waitFor(what: string, holds: () => boolean): Promise<void> {
  for (const deadline = performance.now() + scaled(15_000); performance.now() < deadline; await sleep(10))
    if (holds()) return;
  assert.unreachable(what);
}

function kill(what: string): void {
  const found = processesRunning(hosts, what);
  assert.ok(found.length > 0, `no ${what} to kill`);
  for (const pid of found) process.kill(pid, 'SIGKILL');
}

async function killAgent(): Promise<void> {
  kill('main.js agent');
  await waitFor('the spawner goes on', () => processesRunning(hosts, 'spawner.js').length === 0);
}

async function killShepherd(): Promise<void> {
  kill('shepherd.js');
  await waitFor('the shepherd goes on', () => processesRunning(hosts, 'shepherd.js').length === 0);
}

/** What a new session hears of it first. */
async function recalled(agent: Reachable, { migration }: { migration: string }) {
  await using peer = await Peer.connect(agent);
  return await peer.recall(migration);
}

function stateOf(pid: number): string {
  return /^State:\s*(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]!;
}

/** The made-up program is itself: alone, in its pause(2), with its memory. */
async function assertWhole(): Promise<void> {
  const copies = hosts.target.tasks().filter((pid) => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'latin1');
      return Number(/^NSpid:.*\s(\d+)$/m.exec(status)?.[1]) === innerPid;
    } catch {
      return false; // it ended meanwhile
    }
  });
  assert.is(copies.length, 1, 'there is another number of it');
  const pid = copies[0]!;
  await waitFor('it does not run', () => stateOf(pid) === 'S');
  assert.match(readFileSync(`/proc/${pid}/syscall`, 'latin1'), /^34 /);
  const start = memory.start.toString(16).padStart(8, '0');
  assert.match(readFileSync(`/proc/${pid}/maps`, 'latin1'), new RegExp(`^${start}-`, 'm'));
}

const held = () => stateOf(hosts.target.find(innerPid)!.pid) === 't';
const gone = () => hosts.target.find(innerPid) === null;
const journal = () => listJournals(join(hosts.folder, 'state'))[0]!;

recalls('a new agent is told to commit what the old one had prepared, twice', async () => {
  const peer = await prepared();
  await killAgent();
  assert.ok(held(), 'it is not held');
  await using agent = await NextAgent.start(hosts);
  let pid: number;
  {
    await using source = await Peer.connect(agent);
    assert.equal(await source.recall(peer.migration), { type: 'prepared', epoch: 1, phases: {} });
    const running = await source.ask(peer.commit());
    if (running.type !== 'running') throw new Error(JSON.stringify(running));
    assert.is(running.ended, null);
    assert.ok('record' in running.phases && 'run' in running.phases, 'its phases are not told');
    pid = running.pid;
    await assertWhole();
    const again = await source.ask(peer.commit());
    assert.equal(again, { ...running, phases: {} });
    await assertWhole();
  }
  assert.is((await recalled(agent, peer)).type, 'running', 'who asks later hears something else');
  hosts.killOnTarget(innerPid);
  await waitFor('its end is not recorded', () => JSON.stringify(journal().entry).includes('signal 9'));
  const running = { type: 'running', migration: peer.migration, pid, phases: {}, log: null };
  const ended = { ...running, ended: { code: null, signal: 9 } };
  assert.equal({ ...(await recalled(agent, peer)), notes: [] }, { ...ended, notes: [] });
  await waitFor('the shepherd goes on', () => processesRunning(hosts, 'shepherd.js').length === 0);
  assert.equal(await recalled(agent, peer), { ...ended, notes: [] }, 'the journal says something else');
  // Two at once.
  await using source = await Peer.connect(agent);
  assert.is((await source.recall(peer.migration)).type, 'running');
  assert.is((await recalled(agent, peer)).type, 'running', 'one who asks shuts out another');
  await source.walk([peer.commit(), 'running']);
});

recalls('a new agent is told to discard what the old one had prepared', async () => {
  const peer = await prepared();
  await killAgent();
  await using agent = await NextAgent.start(hosts);
  {
    await using source = await Peer.connect(agent);
    assert.is((await source.recall(peer.migration)).type, 'prepared');
    assert.equal(await source.ask(peer.abort()), { type: 'aborted', migration: peer.migration, what: null });
    assert.ok(gone(), 'it is still there');
    assert.is((await source.ask(peer.commit())).type, 'aborted', 'an aborted one was committed');
  }
  await waitFor('the shepherd goes on', () => processesRunning(hosts, 'shepherd.js').length === 0);
  await using source = await Peer.connect(agent);
  assert.is((await source.recall(peer.migration)).type, 'aborted');
  assert.is((await source.ask(peer.commit())).type, 'aborted', 'an aborted one was committed');
  assert.ok(gone());
});

recalls('what the source asks back is never run', async () => {
  const peer = await prepared();
  await using source = await Peer.connect(hosts);
  assert.is((await source.recall(peer.migration)).type, 'prepared');
  await source.walk([{ type: 'withdraw', migration: peer.migration }, 'aborted'], [peer.commit(), 'aborted']);
  assert.ok(gone());
  source.say({ type: 'over', migration: peer.migration });
  await waitFor('it is not settled', () => JSON.stringify(journal().entry).includes('"settled":true'));
});

recalls('nobody knows of a migration that never was', async () => {
  await using source = await Peer.connect(hosts);
  const migration = newMigrationId();
  assert.equal(await source.recall(migration), { type: 'unknown', migration });
  assert.equal(await source.ask({ type: 'commit', migration, epoch: 1 }), { type: 'unknown', migration });
  assert.equal(await source.ask({ type: 'withdraw', migration }), { type: 'unknown', migration });
  assert.equal(listJournals(join(hosts.folder, 'state')), []);
});

recalls('a commit of a freeze that was never prepared runs nothing', async () => {
  await using peer = await prepare();
  assert.is((await peer.ask(peer.commit(2))).type, 'aborted');
  assert.ok(gone());
  assert.is((await peer.ask(peer.commit(1))).type, 'aborted');
});

recalls('a word about another migration is refused, and changes nothing', async () => {
  const peer = await prepare();
  const answer = await peer.ask({ type: 'commit', migration: newMigrationId(), epoch: 1 });
  assert.is(answer.type, 'failed');
  await peer[Symbol.asyncDispose]();
  assert.ok(held());
  await peer.takeBack(hosts);
  assert.ok(gone());
});

recalls('what cannot be recorded is not run', async () => {
  await using peer = await prepare();
  // EFBIG from now on, whatever it writes; setrlimit(2).
  for (const pid of processesRunning(hosts, 'shepherd.js'))
    execFileSync('prlimit', ['--pid', `${pid}`, '--fsize=0']);
  const answer = await peer.ask(peer.commit());
  assert.is(answer.type, 'aborted');
  assert.match((answer as { what: string }).what, /could not be written/);
  assert.ok(gone());
});

recalls('a shepherd that is killed before the decision takes the copy with it: aborted', async () => {
  await using peer = await prepare();
  await killShepherd();
  const answer = await peer.next();
  assert.is(answer.type, 'aborted');
  assert.match((answer as { what: string }).what, /shepherd/);
  assert.ok(gone());
  assert.is((await peer.ask(peer.commit())).type, 'aborted');
});

recalls('both are killed before the decision: aborted', async () => {
  const peer = await prepared();
  await killAgent();
  await killShepherd();
  await using agent = await NextAgent.start(hosts);
  assert.is((await recalled(agent, peer)).type, 'aborted');
  assert.ok(gone());
});

recalls('a shepherd that is killed after the decision: it runs on, and then it is lost', async () => {
  const peer = await prepare();
  await peer.walk([peer.commit(), 'running']);
  await peer[Symbol.asyncDispose]();
  await killShepherd();
  await assertWhole();
  assert.is((await recalled(hosts, peer)).type, 'running');
  hosts.killOnTarget(innerPid);
  await waitFor('it is still there', gone);
  assert.is((await recalled(hosts, peer)).type, 'lost');
});

recalls.run();
