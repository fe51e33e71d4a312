/** One move of the writer by CRIU, as the writer itself sees it. */
import { readFileSync } from 'node:fs';
import { ProgramRun } from '../../test/support/programs.js';
import { gapsSince, writerClockNs } from '../move.js';
import { type Criu, CriuFailure, type RunningCriu } from './command.js';
import { TmpfsFolder } from './tmpfs.js';
import type { Way } from './ways.js';

const killMs = 10_000;

/**
 * Starts the writer, moves it, asks it for its gaps and ends it: the longest one since the start of the move, in
 * milliseconds. Throws CriuFailure where CRIU cannot move it.
 */
export async function moveWithCriu(criu: Criu, way: Way, options: readonly string[]): Promise<number> {
  using run = await ProgramRun.start('writer', { options: [...options] });
  using images = new TmpfsFolder();
  const startedNs = writerClockNs(options);
  const before = startTimeOf(run.pid);
  const ended = run.exitCode();
  using restore = await way.move(criu, { pid: run.pid, ended, folder: images.path });
  try {
    const lines = await Promise.race([run.ask(), endOf(restore)]);
    if (startTimeOf(run.pid) === before) throw new Error('CRIU left the process where it was');
    return Math.max(0, ...gapsSince(startedNs, lines));
  } finally {
    await endRestored(run.pid, restore);
  }
}

/** Its command stays with the restored process, whose parent it is. */
async function endOf(restore: RunningCriu): Promise<never> {
  await restore.succeeded;
  throw new CriuFailure('criu restore: the restored process ended');
}

/** Ended, and its memory freed: work that must not fall into the next sample. */
async function endRestored(pid: number, restore: RunningCriu): Promise<void> {
  const exists = startTimeOf(pid) !== null;
  if (exists) process.kill(pid, 'SIGKILL');
  await restore.succeeded.catch(() => undefined);
  const deadline = Date.now() + killMs;
  while (startTimeOf(pid) !== null) {
    if (Date.now() > deadline) throw new Error(`process ${pid} did not end`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** In clock ticks since boot: tells two processes with one pid apart; null where there is none. */
function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  } catch {
    return null;
  }
}
