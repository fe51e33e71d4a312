/**
 * The helper that outlives the agent: it has the journal's lock and the agent's pipe. When that ends, what the journal
 * says decides whether the process goes on here (shared/commit/source-side.ts). While the agent lives it sees to it that
 * nobody else lets the held process go.
 *
 *     node holder-process.js PID MIGRATION DIRECTORY      descriptor 3: the journal
 *
 * Lines from the agent: `hold` before it holds, `releasing` and `released` around its letting go. Lines to it: `ready`,
 * `thawed`.
 */
import { fdatasyncSync } from 'node:fs';
import { afterAgent } from '../shared/commit/source-side.js';
import { peekJournal } from '../shared/journal.js';
import { recordOf } from '../shared/journal-format.js';
import { findHold, type Hold } from './hold.js';

const journalDescriptor = 3;
const watchMs = 20;

const [pid, migration, directory] = [Number(process.argv[2]), process.argv[3]!, process.argv[4]!];
let holding = false;
let hold: Hold | null = null;
let watch: NodeJS.Timeout | undefined;

/** Everything that the end of the agent asks for, gone through once: it is fetched and compiled by then. */
function verdict(): ReturnType<typeof afterAgent> {
  const contents = peekJournal(directory, migration, 'source');
  if (contents === null) return afterAgent(null);
  return afterAgent(contents.entry === 'damaged' ? 'damaged' : recordOf(contents.entry));
}

/** Null also where it has ended, or was never moved to a cgroup. */
function held(): Hold | null {
  try {
    return findHold(pid, migration);
  } catch {
    return null;
  }
}

function look(): void {
  try {
    hold ??= held();
    if (hold?.holds) return;
    hold?.hold();
    process.stdout.write('thawed\n');
  } catch {
    clearInterval(watch); // it has ended
  }
}

async function end(): Promise<void> {
  clearInterval(watch);
  const what = verdict();
  if (what === 'keep') {
    // An agent that died right after it had ended the process left its cgroup behind.
    await hold?.removeIfLeft().catch(() => undefined);
    return;
  }
  if (what === 'sync, release') fdatasyncSync(journalDescriptor);
  hold ??= held();
  // A SIGCONT is nothing that a process should see which was not stopped.
  if (holding) hold?.letGo();
  await hold?.remove();
}

let text = '';
process.stdin.setEncoding('latin1');
process.stdin.on('data', (part: string) => {
  text += part;
  const lines = text.split('\n');
  text = lines.pop()!;
  for (const line of lines) {
    clearInterval(watch);
    holding = line !== 'released';
    if (line !== 'hold') continue;
    // While it is in its cgroup: what has ended is in none.
    hold ??= held();
    watch = setInterval(look, watchMs);
  }
});
process.stdin.on('end', () => void end());
// The agent may be gone by the time it would hear of it.
process.stdout.on('error', () => undefined);
verdict();
held();
process.stdout.write('ready\n');
