/** Processes that a test file started and did not end. */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseStat } from '../../shared/proc/stat.js';

/** Carried by every process of a run; ids of nested runners append "/..." to that of the outer one. */
export const marker = 'GODWIT_TEST_RUN';

interface Leftover {
  pid: number;
  comm: string;
}

/**
 * Waits up to graceMs for all processes of the run to be gone (one that was just killed may take a moment to free its
 * memory), kills the rest and returns their names. `leader` began a session of its own, and must have been reaped.
 */
export async function endLeftovers(id: string, leader: number, graceMs: number): Promise<string[]> {
  const patience = performance.now() + graceMs;
  let found = findProcesses(id, leader);
  while (found.length > 0 && performance.now() < patience) {
    await sleep(20);
    found = findProcesses(id, leader);
  }
  const names = found.map(({ pid, comm }) => `${comm} (pid ${pid})`);
  // A process may fork between two looks, so look again until nothing is there.
  for (let round = 0; found.length > 0 && round < 250; round += 1) {
    for (const { pid } of found) kill(pid);
    await sleep(20);
    found = findProcesses(id, leader);
  }
  return names;
}

/** The same at once, for a runner that is being ended itself. */
export function killProcesses(id: string, leader: number): void {
  kill(-leader);
  for (const { pid } of findProcesses(id, leader)) kill(pid);
}

/** By the marker in the environment, and by the session for those that cleared it. Zombies hold nothing: not counted. */
function findProcesses(id: string, session: number): Leftover[] {
  const found: Leftover[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const stat = parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1'));
      // The leader of a group whose other threads go on shows as a zombie too.
      if ('ZX'.includes(stat.state) && stat.threads <= 1) continue;
      if (stat.session === session || isMarked(readFileSync(`/proc/${pid}/environ`, 'latin1'), id))
        found.push({ pid, comm: stat.comm });
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
  return found;
}

function isMarked(environment: string, id: string): boolean {
  const entry = `${marker}=${id}`;
  return environment.split('\0').some((variable) => variable === entry || variable.startsWith(`${entry}/`));
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

/** Ended between two looks, or not ours to look at. */
function isGone(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ESRCH' || code === 'ENOENT' || code === 'EACCES' || code === 'EPERM';
}
