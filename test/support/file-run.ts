/** The run of one test file: a process group of its own, with a time limit, from which nothing survives. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endLeftovers, killProcesses, marker } from './leftovers.js';
import { scaled } from './time.js';
import type { Evidence } from './verdict.js';

/** How long a process that was told to end may take before it counts as left behind. */
const graceMs = 2000;

const declaration = /^\/\/ time limit: (\d+) s$/m;
const running = new Map<string, { leader: number; folder: string }>();

/** The time limit that a test file declares near its top with a line `// time limit: 600 s`, in seconds. */
export function declaredLimit(source: string): number | null {
  const seconds = declaration.exec(source.slice(0, 4096))?.[1];
  return seconds === undefined ? null : Number(seconds);
}

/** Told again and again, of a file that takes long, what it said last. */
export interface Progress {
  everyMs: number;
  tell(lastLine: string): void;
}

/** Runs one compiled test file to its end. */
export async function runFile(file: string, limitSeconds: number, progress: Progress): Promise<Evidence> {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-test-'));
  const log = join(folder, 'output');
  // A file keeps both streams in order, loses nothing in a crash, and is not held open by a leftover child.
  const output = openSync(log, 'a');
  const outer = process.env[marker];
  const own = randomBytes(8).toString('hex');
  const id = outer === undefined ? own : `${outer}/${own}`;
  let timer: NodeJS.Timeout | undefined;
  const reports = setInterval(() => progress.tell(lastLineOf(log)), progress.everyMs);
  try {
    const child = spawn(process.execPath, ['--enable-source-maps', file], {
      detached: true,
      stdio: ['ignore', output, output],
      env: { ...process.env, [marker]: id },
    });
    let stopWaiting: NodeJS.Timeout | undefined;
    let timedOutAfter: number | null = null;
    const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      timer = setTimeout(() => {
        timedOutAfter = limitSeconds;
        killProcesses(id, child.pid!);
        // A task in uninterruptible sleep does not even die: the other files shall run all the same.
        stopWaiting = setTimeout(resolve, 10_000, { code: null, signal: null });
      }, limitSeconds * 1000);
    });
    await once(child, 'spawn');
    const leader = child.pid!;
    running.set(id, { leader, folder });
    const { code, signal } = await ended;
    clearTimeout(timer);
    clearTimeout(stopWaiting);
    const leftovers = await endLeftovers(id, leader, scaled(graceMs));
    running.delete(id);
    const text = readFileSync(log, 'utf8');
    // Where the limit ended it, its children are no fault of their own.
    return { output: text, code, signal, timedOutAfter, leftovers: timedOutAfter === null ? leftovers : [] };
  } finally {
    clearTimeout(timer);
    clearInterval(reports);
    closeSync(output);
    rmSync(folder, { recursive: true, force: true });
  }
}

function lastLineOf(log: string): string {
  return readFileSync(log, 'utf8').trimEnd().split('\n').at(-1)!.trim();
}

/** Kills all that runs, for a runner that is told to end: the groups are not the terminal's to interrupt. */
export function endAllRuns(): void {
  for (const [id, { leader, folder }] of running) {
    killProcesses(id, leader);
    rmSync(folder, { recursive: true, force: true });
  }
}
