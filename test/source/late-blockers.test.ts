/** What a program did after preflight: seen when it is stopped, and the program goes on as it was. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { parseStatus } from '../../shared/proc/status.js';
import { detectBlockers } from '../../source-agent/blockers.js';
import { inspect } from '../../source-agent/inspection.js';
import { PipeCensus } from '../../source-agent/pipe-census.js';
import { SourceProcess } from '../../source-agent/source-process.js';
import { Stopper } from '../../source-agent/stop.js';
import { withoutInherited } from '../support/programs.js';

let folder = '';
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-late-'));
});
test.after(() => rmSync(folder, { recursive: true }));

/** A perl program, once it has said that it is ready. Its process group ends with the scope. */
class Program implements AsyncDisposable {
  private constructor(private readonly child: ChildProcess) {}

  static async start(text: string): Promise<Program> {
    const script = `$| = 1; ${text}; print "ready\\n"; sleep 1 while 1`;
    const child = spawn(withoutInherited[0]!, [...withoutInherited.slice(1), 'perl', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
      detached: true,
      cwd: folder,
    });
    await once(child.stdout!, 'data');
    return new Program(child);
  }

  get pid(): number {
    return this.child.pid!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.kill(-this.pid, 'SIGKILL');
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'exit');
  }
}

/** What the process shows to the outside: it must be the same after a refusal. */
function traces(pid: number) {
  const { tracerPid, blocked } = parseStatus(readFileSync(`/proc/${pid}/status`, 'utf8'));
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8');
  return { tracerPid, blocked, maps, descriptors: readdirSync(`/proc/${pid}/fd`) };
}

/** Codes for which the stopped program is refused; empty where its state was read. */
function codesAtCapture(pid: number): string[] {
  using source = SourceProcess.open(pid);
  const stopper = new Stopper(source, new PipeCensus(pid));
  try {
    using frozen = stopper.freeze();
    stopper.capture(frozen, stopper.mappings());
    return [];
  } catch (error) {
    if (!(error instanceof MigrationError)) throw error;
    return error.blockers.length > 0 ? error.blockers.map(({ code }) => code) : [error.code];
  }
}

function codesInPreflight(pid: number): string[] {
  using source = SourceProcess.open(pid);
  return detectBlockers(inspect(source), new PipeCensus(pid)).map(({ code }) => code);
}

for (const [what, text, codes] of [
  ['nothing in particular', '1', []],
  ['a child', 'fork or sleep 100', ['has-children']],
  [
    'a child that has ended and was not collected',
    'fork or exit; select undef, undef, undef, 0.2',
    ['has-children'],
  ],
  ['a locked file', 'open F, ">", "lock"; flock F, 2', ['file-locked']],
  [
    'a socket',
    'use Socket; socketpair $a, $b, AF_UNIX, SOCK_STREAM, 0',
    ['descriptor-kind', 'descriptor-kind'],
  ],
  ['a deleted file', 'open F, ">", "gone"; unlink "gone"', ['file-deleted']],
] as [string, string, string[]][]) {
  test(what, async () => {
    await using program = await Program.start(text);
    const before = traces(program.pid);
    assert.equal(codesInPreflight(program.pid), codes, 'preflight');
    assert.equal(codesAtCapture(program.pid), codes, 'capture');
    assert.equal(traces(program.pid), before);
  });
}

test('a program that was stopped stays stopped', async () => {
  await using program = await Program.start('1');
  const state = () => parseStatus(readFileSync(`/proc/${program.pid}/status`, 'utf8')).state;
  process.kill(program.pid, 'SIGSTOP');
  // A thread that is let go takes the way back to its stop by itself, a moment later.
  const settled = async () => {
    for (let tries = 0; state() !== 'T' && tries < 500; tries += 1) await sleep(10);
    return state();
  };
  assert.is(await settled(), 'T');
  assert.equal(codesInPreflight(program.pid), ['process-stopped']);
  assert.equal(codesAtCapture(program.pid), ['process-stopped']);
  assert.is(await settled(), 'T');
  assert.is(traces(program.pid).tracerPid, 0);
  process.kill(program.pid, 'SIGCONT');
  assert.equal(codesAtCapture(program.pid), []);
});

test.run();
