/** `migrate status` */
import { setTimeout as sleep } from 'node:timers/promises';
import { ExitCode } from '../shared/errors.js';
import { durableDirectory } from '../shared/state-directory.js';
import { Interrupts } from './interrupts.js';
import type { StatusRequest } from './requests.js';
import type { Listed } from './situations.js';
import { plain, type Styles } from './styles.js';
import type { Terminal } from './terminal.js';

const watchMs = 1000;

export async function statusCommand(
  { stateDirectory, watch, json }: StatusRequest,
  { out, outStyles }: Terminal,
): Promise<ExitCode> {
  const { listSituations } = await import('./situations.js');
  const directory = durableDirectory(stateDirectory);
  using interrupts = new Interrupts(
    () => undefined,
    () => undefined,
  );
  for (let before = ''; !interrupts.signal.aborted; ) {
    const migrations = listSituations(directory);
    const text = json ? JSON.stringify({ event: 'status', migrations }) : formatStatus(migrations, outStyles);
    if (text !== before) out.write(`${before === '' || json ? '' : '\n'}${text}\n`);
    before = text;
    if (!watch) break;
    await sleep(watchMs, undefined, { signal: interrupts.signal }).catch(() => undefined);
  }
  return ExitCode.success;
}

/** Lines joined by line ends, the last without one. */
export function formatStatus(migrations: readonly Listed[], styles: Styles = plain): string {
  if (migrations.length === 0) return 'no migrations on record';
  return migrations.flatMap((listed) => formatListed(listed, styles)).join('\n');
}

function formatListed({ migration, role, pid, name, peer, sinceMs, ...words }: Listed, styles: Styles) {
  const direction = role === 'source' ? 'to' : 'from';
  const since = new Date(sinceMs).toISOString().replace('T', ' ').slice(0, 19);
  const mark = words.state === 'waiting' ? styles.bad : words.state === 'over' ? styles.dim : styles.good;
  return [
    `${styles.bold(migration)}  process ${pid} (${name}) ${direction} ${peer}, since ${since} UTC`,
    `  ${mark(words.what)}`,
    ...words.choices.flatMap(({ command, alone, what, risk }) => [
      `  migrate ${command} ${migration}${alone ? ' --force' : ''}: ${what}`,
      ...(risk === null ? [] : [`    ${risk}`]),
    ]),
  ];
}
