/** `migrate demo`: the main job on this machine alone, for somebody who sees it for the first time. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ExitCode, MigrationError } from '../../shared/errors.js';
import { createSecret } from '../../shared/secret.js';
import { Interrupts } from '../interrupts.js';
import { formatRound } from '../progress.js';
import { formatReport } from '../report.js';
import type { Terminal } from '../terminal.js';
import { formatMs } from '../units.js';
import { Counter } from './counter.js';
import { findGap } from './counting.js';
import { LogFollower } from './log-follower.js';
import { move } from './move.js';
import { TargetHost } from './target-host.js';

const watchBeforeMs = 2000;
const watchAfterMs = 3000;

export async function demoCommand({ out, outStyles: styles }: Terminal): Promise<ExitCode> {
  if (process.getuid?.() !== 0) {
    throw new MigrationError(
      'not-permitted',
      'the demo needs root: it makes a pid namespace and moves a process',
    );
  }
  const say = (line = '') => out.write(`${line}\n`);
  const from = (who: string) => (line: string) => say(`${styles.dim(`${who} |`)} ${line}`);
  using interrupts = new Interrupts(
    () => say('Stopping: everything the demo started is ended.'),
    () => say('Already stopping.'),
  );
  const { signal } = interrupts;
  using folder = new TemporaryFolder();
  const secretFile = join(folder.path, 'secret');
  writeFileSync(secretFile, `${createSecret()}\n`, { mode: 0o600 });
  // dist/cli/demo/demo.js -> dist/cli/main.js
  const command = [process.execPath, fileURLToPath(new URL('../main.js', import.meta.url))];

  say(styles.bold('One machine plays both hosts.'));
  await using target = await untilStopped(
    signal,
    TargetHost.start({ command, secretFile, folder: folder.path }),
  );
  say(`  The target: an agent in a pid namespace of its own, on ${target.address}.`);
  say('  The program: some 200 MB of objects that it keeps changing and checking. It starts:');
  await using counter = await untilStopped(signal, Counter.start(from('source ')));
  await pause(watchBeforeMs, signal);

  say(styles.bold(`It moves while it works: migrate ${counter.pid} ${target.address}`));
  const onEvent = from('migrate');
  const report = await move({
    command,
    pid: counter.pid,
    target: target.address,
    secretFile,
    onEvent: (event) => {
      if (event.event === 'round') onEvent(formatRound(event));
    },
    signal,
  });
  await counter.drained();
  say(formatReport(report, target.address, styles));
  if (report.log === null) {
    throw new MigrationError('internal', 'the report names no file for the output of the program');
  }

  say(styles.bold('It goes on there:'));
  using log = new LogFollower(report.log, from('target '));
  await pause(watchAfterMs, signal);

  const task = target.find(report.innerPid);
  const gap = task ? findGap(counter.lines, log.lines) : 'the program does not run on the target';
  if (gap !== null) {
    say(styles.bad(`FAILED: ${gap}.`));
    return ExitCode.failed;
  }
  const { pid, parent } = task!;
  say(
    `Who runs it now: ${parent.name} (pid ${parent.pid}) of the target. This machine calls the program pid ${pid}, ` +
      `it calls itself ${report.innerPid} as before.`,
  );
  const lines = counter.lines.length + log.lines.length;
  say(
    styles.good(
      `OK: ${lines} lines, none missing and none twice; the program was frozen for ${formatMs(report.frozenMs)}.`,
    ),
  );
  return ExitCode.success;
}

class TemporaryFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'godwit-demo-'));
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
  if (signal.aborted) throw interrupted();
}

/** What was started is waited for, so that it can be ended in order. */
async function untilStopped<T extends AsyncDisposable>(
  signal: AbortSignal,
  starting: Promise<T>,
): Promise<T> {
  const started = await starting;
  if (!signal.aborted) return started;
  await started[Symbol.asyncDispose]();
  throw interrupted();
}

function interrupted(): MigrationError {
  return new MigrationError('interrupted', 'the demo was stopped');
}
