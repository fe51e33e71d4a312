/** `migrate resume <id>` and `migrate abort <id>` */
import type { Notice } from '../shared/commit/index.js';
import { asMigrationError, ExitCode } from '../shared/errors.js';
import { durableDirectory, openDurableDirectory } from '../shared/state-directory.js';
import type { Resolution } from '../source-agent/resumption.js';
import { failureReport } from './failure.js';
import type { DecisionRequest } from './requests.js';
import { namedSecret } from './secret.js';
import { formatStatus } from './status.js';
import { type Terminal, tellFailure, tellStack } from './terminal.js';

export async function decideCommand(request: DecisionRequest, terminal: Terminal): Promise<ExitCode> {
  const { want, migration, force, secretFile, stateDirectory, json } = request;
  const { out, err, errStyles } = terminal;
  const printJson = (line: object) => out.write(`${JSON.stringify(line)}\n`);
  try {
    const directory = openDurableDirectory(durableDirectory(stateDirectory));
    const { resume } = await import('../source-agent/resumption.js');
    const secret = () => namedSecret(secretFile);
    const resolution = await resume({ directory, migration, secret, want, alone: force });
    if (json) printJson({ event: 'result', ...resolution });
    else out.write(`${formatResolution(resolution)}\n`);
    // What was asked for is not what was found.
    return want === 'abort' && resolution.outcome === 'moved' ? ExitCode.failed : ExitCode.success;
  } catch (thrown) {
    const error = asMigrationError(thrown);
    if (json) {
      printJson(failureReport(error, error.subject.pid ?? 0));
      tellStack(error, err);
      return error.exit;
    }
    tellFailure(error, `${want === 'resume' ? 'resuming' : 'aborting'} migration ${migration}`, terminal);
    if (error.code === 'in-doubt') {
      const { listSituations } = await import('./situations.js');
      const listed = listSituations(durableDirectory(stateDirectory));
      err.write(
        `${formatStatus(
          listed.filter((each) => each.migration === migration),
          errStyles,
        )}\n`,
      );
    }
    return error.exit;
  }
}

const notes: Record<Notice, string | null> = {
  silent: null,
  unknown: null,
  'lost-there': 'the target had taken it over and lost it',
  thawed: 'somebody let the held process run for a while',
  gone: 'it cannot go on here: it has ended here',
  two: 'it runs on the target as well: two copies run. End one of them.',
  none: 'the target had given it up: no copy of it runs any more',
};

export function formatResolution({ pid, name, peer, outcome, gone, notices }: Resolution): string {
  const who = `process ${pid} (${name})`;
  const kept = gone ? `${who} has ended here and was not moved` : `${who} goes on here`;
  const moved = `${who} is the target's (${peer}); the copy here has ended`;
  const said = notices.map((notice) => notes[notice]).filter((note) => note !== null);
  return [outcome === 'kept' ? kept : moved, ...said.map((note) => `  ${note}`)].join('\n');
}
