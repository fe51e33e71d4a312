// time limit: 600 s
/**
 * The source's agent is killed right after it has recorded the hand-over: the process stays frozen, `migrate status` says
 * so, and `migrate resume` or `migrate abort` bring it to an end. One copy runs then, and finds nothing wrong.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Listed } from '../../cli/situations.js';
import { listJournals } from '../../shared/journal.js';
import { findHold } from '../../source-agent/hold.js';
import type { Resolution } from '../../source-agent/resumption.js';
import { ProgramRun } from '../support/programs.js';
import { scaled } from '../support/time.js';
import { command, TwoHosts } from '../support/two-hosts.js';
import { lookAt, untouched } from '../support/untouched.js';

/** What the source sends arrives so much later: long enough to see the record before its word is out. */
const delayMs = 300;

const resumption = suite('resumption');
let hosts: TwoHosts;
let link: SlowLink;
resumption.before.each(async () => {
  hosts = await TwoHosts.start();
  link = await SlowLink.to(hosts.target.address);
});
resumption.after.each(async () => {
  link.close();
  await hosts[Symbol.asyncDispose]();
});

/** A port that leads to another, slowly in one direction, until it is cut. */
class SlowLink {
  #sockets: Socket[] = [];
  #delayMs = delayMs;

  private constructor(
    private readonly server: ReturnType<typeof createServer>,
    readonly address: string,
  ) {}

  static async to(address: string): Promise<SlowLink> {
    const [host, port] = address.split(':') as [string, string];
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const link = new SlowLink(server, `127.0.0.1:${(server.address() as AddressInfo).port}`);
    server.on('connection', (near) => link.#join(near, connect(Number(port), host)));
    return link;
  }

  #join(near: Socket, far: Socket): void {
    this.#sockets.push(near, far);
    far.setNoDelay(true);
    near.setNoDelay(true);
    near.on('data', (bytes) => void setTimeout(() => far.writable && far.write(bytes), this.#delayMs));
    far.on('data', (bytes) => near.writable && near.write(bytes));
    near.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => near.destroy()).on('close', () => near.destroy());
  }

  /** What is under way is lost; new connections are fast. */
  cut(): void {
    for (const socket of this.#sockets.splice(0)) socket.destroy();
    this.#delayMs = 0;
  }

  close(): void {
    this.cut();
    this.server.close();
  }
}

const journals = () => join(hosts.folder, 'journals');

/** Moves it until COMMIT is recorded; the agent is killed then, and its word does not arrive. Returns the id. */
async function killAfterRecord(pid: number): Promise<string> {
  const [node, main] = command as [string, string];
  const given = [main, String(pid), link.address, '--json', '--secret-file', hosts.secretFile];
  const child = spawn(node, given, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  const ended = once(child, 'exit');
  for (;;) {
    const found = child.stdout && output.includes('"freeze"') ? recorded() : undefined;
    if (found) {
      link.cut();
      child.kill('SIGKILL');
      await ended;
      return found.migration;
    }
    assert.is(child.exitCode, null, output);
    await sleep(1);
  }
}

function recorded() {
  return listJournals(journals()).find(({ role, entry }) => {
    return role === 'source' && entry !== 'damaged' && entry.decision === 'commit' && !entry.settled;
  });
}

async function run(...given: string[]) {
  return await hosts.run([...command, ...given]);
}

/** As `migrate status` tells it, once the dead agent's helper has decided. */
async function waiting(migration: string): Promise<Listed> {
  for (const deadline = performance.now() + scaled(10_000); performance.now() < deadline; await sleep(20)) {
    const [node, main] = command as [string, string];
    const { output } = await hosts.run([node, main, 'status', '--json'], null);
    const { migrations } = JSON.parse(output) as { migrations: Listed[] };
    const listed = migrations.find((each) => each.migration === migration);
    if (listed?.state === 'waiting') return listed;
  }
  return assert.unreachable(`migration ${migration} does not wait`) as never;
}

function isHeld(pid: number, migration: string): boolean {
  using hold = findHold(pid, migration);
  return hold?.holds === true;
}

async function withProgram(act: (run: ProgramRun) => Promise<void>): Promise<void> {
  using program = await ProgramRun.start('six', { options: ['--tolerate-eintr'] });
  try {
    await act(program);
  } finally {
    // A frozen process would not even be killed.
    for (const { migration, identity } of listJournals(journals())) {
      if (identity?.pid !== program.pid) continue;
      try {
        using hold = findHold(program.pid, migration);
        hold?.letGo();
      } catch {
        // It has ended.
      }
    }
  }
}

resumption('what was recorded stays held, and is carried through', async () => {
  await withProgram(async (program) => {
    const migration = await killAfterRecord(program.pid);
    const listed = await waiting(migration);
    assert.is(listed.pid, program.pid);
    assert.is(listed.role, 'source');
    assert.match(listed.what, /stands still/);
    assert.ok(isHeld(program.pid, migration));
    assert.is(isHeld(program.pid, migration), true);
    const { code, result, output } = await run('resume', migration);
    assert.is(code, 0, output);
    const resolution = result as unknown as Resolution;
    assert.is(resolution.outcome, 'moved', output);
    assert.is.not(hosts.target.find(program.pid), null, 'it runs on the target');
    assert.equal((await program.check()).failures, []);
  });
});

resumption('what was recorded can be taken back while the target does not run it', async () => {
  await withProgram(async (program) => {
    const before = lookAt(program.pid);
    const migration = await killAfterRecord(program.pid);
    await waiting(migration);
    const { code, result, output } = await run('abort', migration);
    assert.is(code, 0, output);
    assert.is((result as unknown as Resolution).outcome, 'kept', output);
    assert.equal(await untouched(program.pid, before), []);
    assert.equal((await program.check()).failures, []);
  });
});

resumption('a person lets it go on here, and the target is told when it is back', async () => {
  await withProgram(async (program) => {
    const before = lookAt(program.pid);
    const migration = await killAfterRecord(program.pid);
    await waiting(migration);
    const { code, output } = await run('abort', migration, '--force');
    assert.is(code, 0, output);
    assert.equal(await untouched(program.pid, before), []);
    assert.is(hosts.target.find(program.pid), null, 'two of it');
    assert.equal((await program.check()).failures, []);
  });
});

resumption('where the target cannot be reached it stays held', async () => {
  await withProgram(async (program) => {
    const migration = await killAfterRecord(program.pid);
    await waiting(migration);
    link.close();
    for (const want of ['resume', 'abort']) {
      const { code, output } = await run(want, migration);
      assert.is(code, 6, output);
      assert.match(output, new RegExp(migration));
      assert.ok(isHeld(program.pid, migration));
    }
  });
});

resumption('the next move of the same process brings the one before to an end first', async () => {
  await withProgram(async (program) => {
    const migration = await killAfterRecord(program.pid);
    await waiting(migration);
    const { code, output } = await hosts.move(program.pid);
    assert.is(code, 1, output);
    assert.match(output, new RegExp(`migration ${migration} has moved process ${program.pid}`));
    assert.is.not(hosts.target.find(program.pid), null, 'it runs on the target');
    assert.equal((await program.check()).failures, []);
  });
});

resumption('the same process is not moved twice at once', async () => {
  using program = await ProgramRun.start('refused', { options: ['--resident', '64'] });
  const first = hosts.move(program.pid, '--bandwidth', '4M');
  const isOpen = () => listJournals(journals()).length > 0;
  for (const deadline = performance.now() + scaled(15_000); !exists(isOpen); await sleep(10))
    assert.ok(performance.now() < deadline, 'the first move does not begin');
  const second = await hosts.move(program.pid);
  assert.is(second.code, 3, second.output);
  assert.match(second.output, /migration-busy/);
  const { code, output } = await first;
  assert.is(code, 0, output);
  assert.equal((await program.check()).failures, []);
});

function exists(holds: () => boolean): boolean {
  try {
    return holds();
  } catch {
    return false; // the folder is not there yet
  }
}

resumption.run();
