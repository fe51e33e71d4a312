// time limit: 300 s
/** Everything that cannot be moved is refused by name, and goes on here as if nothing had happened. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { catalogue, type ErrorCode } from '../../shared/errors.js';
import { parseStat, TaskFlag } from '../../shared/proc/stat.js';
import { createSecret } from '../../shared/secret.js';
import type { FailureReport } from '../../source-agent/report.js';
import { ProgramRun } from '../support/programs.js';
import { skip } from '../support/skips.js';
import { scaled } from '../support/time.js';
import { command, type MoveResult, TwoHosts } from '../support/two-hosts.js';
import { lookAt, untouched } from '../support/untouched.js';

const hosts = await TwoHosts.start();
const usual = hosts.target.tasks().length;
const folder = mkdtempSync(join(tmpdir(), 'godwit-bad-input-'));
chmodSync(folder, 0o755);
test.after(async () => {
  await hosts[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** The error says what it is, where that belongs to, and what to do. */
function assertFailure({ code: exit, result, output }: MoveResult, code: ErrorCode, says: RegExp): void {
  const failure = result as FailureReport;
  const reasons = failure.blockers.length > 0 ? failure.blockers : [failure];
  const found = reasons.find((reason) => reason.code === code);
  assert.ok(found, `${code} expected: ${output}`);
  assert.match(found.what, says);
  assert.is(failure.advice, catalogue[failure.code].advice, output);
  assert.is(exit, catalogue[code].exit, output);
}

async function assertTargetClean(): Promise<void> {
  const deadline = performance.now() + scaled(15_000);
  while (hosts.target.tasks().length !== usual && performance.now() < deadline) await sleep(10);
  assert.is(hosts.target.tasks().length, usual, `the target keeps something: ${hosts.targetLog}`);
}

/** One attempt that fails in this way and leaves the process as it was. */
async function assertRefused(
  pid: number,
  code: ErrorCode,
  says: RegExp,
  attempt: () => Promise<MoveResult> = () => hosts.move(pid),
): Promise<FailureReport> {
  const before = lookAt(pid);
  const moved = await attempt();
  assertFailure(moved, code, says);
  assert.equal(await untouched(pid, before), [], moved.output);
  await assertTargetClean();
  return moved.result as FailureReport;
}

/** A `migrate` command line of one's own. */
function migrate(pid: number, address: string, secretFile: string): Promise<MoveResult> {
  return hosts.run([...command, String(pid), address], secretFile);
}

async function holding(options: string[], use: (run: ProgramRun) => Promise<unknown>): Promise<void> {
  using run = await ProgramRun.start('refused', { options });
  await use(run);
  assert.equal((await run.check()).failures, []);
}

// ---------------------------------------------------------------- what the process is

test('no such process', async () => {
  const { pid } = spawn('true');
  await sleep(50);
  assertFailure(await hosts.move(pid!), 'no-such-process', /there is no process \d+/);
});

test('an ended process that nobody has collected', async () => {
  // The shell starts one that ends when the shell has become another program, which never collects it.
  const parent = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 600'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const [text] = (await once(parent.stdout!, 'data')) as [Buffer];
    const pid = Number(text.toString());
    for (const until = performance.now() + scaled(10_000); performance.now() < until; await sleep(5)) {
      if (stateOf(pid) === 'Z') break;
    }
    assertFailure(await hosts.move(pid), 'process-dead', /has ended/);
  } finally {
    parent.kill();
  }
});

if (kernelThreadAt(2))
  test('a kernel thread', async () => {
    assertFailure(await hosts.move(2), 'kernel-thread', /is a kernel thread/);
  });
else skip('kernel-threads', 'pid 2 is no kernel thread');

test('the agent itself', async () => {
  const script = 'exec "$1" "$2" $$ "$3" --json --secret-file "$4"';
  const [node, main] = command as [string, string];
  const given = ['sh', '-c', script, 'sh', node, main, hosts.target.address, hosts.secretFile];
  assertFailure(await hosts.run(given, null), 'agent-itself', /this agent or one of its ancestors/);
});

test('an ancestor of the agent', async () => {
  assertFailure(await hosts.move(process.pid), 'agent-itself', /this agent or one of its ancestors/);
});

test('a thread that is not the first', () =>
  holding([], async () => {
    using six = await ProgramRun.start('six');
    const tid = lookAt(six.pid)
      .map((line) => Number(/^thread (\d+)/.exec(line)?.[1]))
      .find((id) => id > 0 && id !== six.pid)!;
    await assertRefused(six.pid, 'no-such-process', /is a thread of process/, () => hosts.move(tid));
  }));

test('a 32-bit process', async () => {
  const source = join(folder, 'small.s');
  const program = join(folder, 'small');
  // pause(2) for ever: no library of 32 bits is needed.
  writeFileSync(source, '.globl _start\n_start: mov $29, %eax\n int $0x80\n jmp _start\n');
  execFileSync('as', ['--32', '-o', `${program}.o`, source]);
  execFileSync('ld', ['-m', 'elf_i386', '-o', program, `${program}.o`]);
  const child = spawn(program, { stdio: 'ignore', cwd: folder });
  await once(child, 'spawn');
  try {
    await assertRefused(child.pid!, 'process-32-bit', /is a 32-bit program/);
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

test('a traced process', () =>
  holding([], async (run) => {
    native.seize(run.pid, 0);
    try {
      await assertRefused(run.pid, 'process-traced', new RegExp(`is traced by process ${process.pid}`));
    } finally {
      native.interruptAndStop([run.pid], 5000);
      native.detach([run.pid]);
    }
  }));

test('a stopped process', () =>
  holding([], async (run) => {
    run.signal('SIGSTOP');
    for (
      const until = performance.now() + scaled(5000);
      performance.now() < until && stateOf(run.pid) !== 'T';
    )
      await sleep(5);
    await assertRefused(run.pid, 'process-stopped', /is stopped/);
    assert.is(stateOf(run.pid), 'T');
    run.signal('SIGCONT');
  }));

test('an agent without rights', () =>
  holding([], async (run) => {
    const secretFile = join(folder, 'nobodys-secret');
    copyFileSync(hosts.secretFile, secretFile);
    chmodSync(secretFile, 0o600);
    chownSync(secretFile, 65534, 65534);
    const asNobody = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', ...command];
    await assertRefused(run.pid, 'not-permitted', /may not be opened/, () =>
      hosts.run([...asNobody, String(run.pid), hosts.target.address], secretFile),
    );
  }));

// ---------------------------------------------------------------- what the process holds

interface Held {
  what: string;
  options: string[];
  code: ErrorCode;
  says: RegExp;
}

const held: Held[] = [
  { what: 'a child', options: ['--child'], code: 'has-children', says: /is a child of process/ },
  { what: 'a socket', options: ['--socket'], code: 'descriptor-kind', says: /socket/ },
  { what: 'a file lock', options: ['--lock'], code: 'file-locked', says: /\.locked is locked/ },
  { what: 'shared memory', options: ['--shared'], code: 'mapping-kind', says: /is shared memory/ },
  { what: 'a POSIX timer', options: ['--timer'], code: 'timers', says: /POSIX timer/ },
  { what: 'a seccomp filter', options: ['--seccomp'], code: 'seccomp-filter', says: /runs under seccomp/ },
  { what: 'a deleted file', options: ['--deleted'], code: 'file-deleted', says: /was deleted/ },
  { what: 'a pipe to another process', options: ['--pipe-out'], code: 'pipe-leads-out', says: /leads out/ },
  {
    what: 'asynchronous I/O',
    options: ['--aio'],
    code: 'mapping-kind',
    says: /asynchronous I\/O \(io_setup\)/,
  },
  { what: 'secret memory', options: ['--secret'], code: 'mapping-kind', says: /secret memory/ },
  {
    what: 'a mount namespace',
    options: ['--mount-namespace'],
    code: 'foreign-namespace',
    says: /another mnt namespace/,
  },
];

for (const { what, options, code, says } of held)
  test(`a process with ${what}`, () => holding(options, (run) => assertRefused(run.pid, code, says)));

test('everything that stands in the way is named at once', () =>
  holding(['--child', '--socket', '--lock', '--shared', '--timer'], async (run) => {
    const before = lookAt(run.pid);
    const { code, result, output } = await hosts.run([...command, 'check', String(run.pid)]);
    assert.is(code, 3);
    const codes = (result as unknown as FailureReport).blockers.map((blocker) => blocker.code);
    for (const expected of ['has-children', 'descriptor-kind', 'file-locked', 'mapping-kind', 'timers'])
      assert.ok(codes.includes(expected as ErrorCode), output);
    assert.equal(await untouched(run.pid, before), []);
    const { blockers } = await assertRefused(run.pid, 'has-children', /is a child/);
    assert.equal(
      blockers.map((blocker) => blocker.code),
      codes,
    );
  }));

// ---------------------------------------------------------------- the way to the target

test('no target', () =>
  holding([], async (run) => {
    const { server, address } = await listenWith(() => {});
    server.close();
    await once(server, 'close');
    await assertRefused(run.pid, 'target-unreachable', /refuses connections/, () =>
      migrate(run.pid, address, hosts.secretFile),
    );
  }));

test('a peer that speaks nonsense', () =>
  holding([], async (run) => {
    const peers: ((socket: Socket) => void)[] = [
      (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
      (socket) => socket.write(Buffer.alloc(1 << 16, 0x16)),
      (socket) => socket.destroy(),
    ];
    for (const peer of peers) {
      const { server, address } = await listenWith(peer);
      await assertRefused(run.pid, 'target-unreachable', /is no godwit agent|closed the connection/, () =>
        migrate(run.pid, address, hosts.secretFile),
      );
      server.close();
    }
  }));

test('another secret', () =>
  holding([], async (run) => {
    const other = join(folder, 'other-secret');
    writeFileSync(other, `${createSecret()}\n`, { mode: 0o600 });
    await assertRefused(run.pid, 'authentication-failed', /does not hold the same secret/, () =>
      migrate(run.pid, hosts.target.address, other),
    );
  }));

test('secret files that are missing, readable by others, or hold something else', () =>
  holding([], async (run) => {
    const open = join(folder, 'open-secret');
    writeFileSync(open, `${createSecret()}\n`);
    chmodSync(open, 0o644);
    const nonsense = join(folder, 'nonsense');
    writeFileSync(nonsense, 'password\n', { mode: 0o600 });
    for (const [file, code, says] of [
      [join(folder, 'nowhere'), 'secret-missing', /there is no secret file/],
      [open, 'secret-unusable', /open to others than its owner/],
      [nonsense, 'secret-unusable', /does not hold a secret/],
    ] as const)
      await assertRefused(run.pid, code, says, () => migrate(run.pid, hosts.target.address, file));
  }));

// ---------------------------------------------------------------- what the target lacks

test('a file that is missing on the target', async () => {
  const data = join(folder, 'data');
  mkdirSync(data);
  writeFileSync(join(data, 'file'), 'content');
  await holding(['--open', join(data, 'file')], async (run) => {
    using _hidden = mountOnTarget('-t', 'tmpfs', 'tmpfs', data);
    await assertRefused(run.pid, 'file-missing', /data\/file does not exist on the target/);
  });
});

test('a file and a library that differ on the target, in size or only in content', async () => {
  const data = join(folder, 'opened');
  writeFileSync(data, 'content');
  await holding(['--open', data], async (run) => {
    const library = /\S+\/libc\.so\.6$/m.exec(readFileSync(`/proc/${run.pid}/maps`, 'utf8'))![0];
    for (const original of [data, realpathSync(library)]) {
      for (const change of [shortened, altered]) {
        const other = join(folder, 'other');
        writeFileSync(other, change(readFileSync(original)), { mode: statSync(original).mode });
        // Nothing but the content tells.
        const { atime, mtime } = statSync(original);
        utimesSync(other, atime, mtime);
        using _replaced = mountOnTarget('--bind', other, original);
        const code = original === data ? 'file-differs' : 'mapped-file-differs';
        await assertRefused(run.pid, code, /has another content on the target/);
      }
    }
    // Nothing stands in the way once they are the same again.
    const { code, output } = await hosts.run([...command, 'check', String(run.pid), hosts.target.address]);
    assert.is(code, 0, output);
  });
});

/** A library of this kind still works: what is at the end of the file only names sections. */
const altered = (content: Buffer) => {
  const changed = Buffer.from(content);
  changed[changed.length - 1]! ^= 1;
  return changed;
};
const shortened = (content: Buffer) => content.subarray(0, content.length - 1);

test('a process id that is taken on the target', () =>
  holding([], async (run) => {
    // The next process of the namespace gets the id after the last: proc(5), ns_last_pid.
    const script = 'echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; sleep 600 & wait';
    const [program, ...given] = [...hosts.target.within, 'sh', '-c', script, 'sh', String(run.pid)];
    const taker = spawn(program!, given, { stdio: 'ignore' });
    for (const until = performance.now() + scaled(5000); performance.now() < until; await sleep(5))
      if (hosts.target.find(run.pid)) break;
    const before = lookAt(run.pid);
    const moved = await hosts.move(run.pid);
    assert.ok(hosts.killOnTarget(run.pid), 'the id was not taken');
    await once(taker, 'exit');
    assertFailure(moved, 'pid-taken', new RegExp(`the id ${run.pid} is in use`));
    assert.equal(await untouched(run.pid, before), []);
    await assertTargetClean();
  }));

test('too little memory on the target', () =>
  holding(['--resident', '300'], async (run) => {
    using limit = MemoryLimit.create(hosts.target.tasks(), 200 << 20);
    if (!limit) return skip('memory-cgroup', 'no memory controller can be used');
    await assertRefused(run.pid, 'no-memory', /has 30\d MiB of memory, the target \d+ MiB to spare/);
  }));

test('a full disk on the target', () =>
  holding([], async (run) => {
    using _full = mountOnTarget('-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', join(hosts.folder, 'state'));
    await assertRefused(run.pid, 'no-space', /state is full/);
  }));

// ---------------------------------------------------------------- helpers

function stateOf(pid: number): string {
  return parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1')).state;
}

function kernelThreadAt(pid: number): boolean {
  try {
    return (parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1')).flags & TaskFlag.kernelThread) !== 0;
  } catch {
    return false;
  }
}

async function listenWith(onPeer: (socket: Socket) => void): Promise<{ server: Server; address: string }> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    onPeer(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, address: `127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** Mounts something that only the target sees; the last argument is where. */
function mountOnTarget(...given: string[]): Disposable {
  const run = (...argv: string[]) => {
    const [program, ...rest] = [...hosts.target.within, ...argv];
    execFileSync(program!, rest);
  };
  run('mount', ...given);
  return { [Symbol.dispose]: () => run('umount', '--lazy', given.at(-1)!) };
}

/** A memory cgroup of version 1 or 2 around some processes, so that so much is left to them. */
class MemoryLimit implements Disposable {
  private constructor(
    private readonly group: string,
    private readonly parent: string,
    private readonly pids: readonly number[],
  ) {}

  static create(pids: readonly number[], spareBytes: number): MemoryLimit | null {
    for (const [root, limit, usage] of [
      ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes', 'memory.usage_in_bytes'],
      ['/sys/fs/cgroup', 'memory.max', 'memory.current'],
    ] as const) {
      const group = join(root, `godwit-test-${process.pid}`);
      try {
        mkdirSync(group);
      } catch {
        continue;
      }
      const made = new MemoryLimit(group, root, pids);
      try {
        for (const pid of pids) writeFileSync(join(group, 'cgroup.procs'), String(pid));
        const used = Number(readFileSync(join(group, usage), 'utf8'));
        writeFileSync(join(group, limit), String(used + spareBytes));
        return made;
      } catch {
        made[Symbol.dispose]();
      }
    }
    return null;
  }

  [Symbol.dispose](): void {
    for (const pid of this.pids) writeFileSync(join(this.parent, 'cgroup.procs'), String(pid));
    rmdirSync(this.group);
  }
}

test.run();
