/** The command line: its commands and options, and how their text becomes requests. */
import { Command, CommanderError, Option } from 'commander';
import { type ErrorCode, ExitCode, MigrationError } from '../shared/errors.js';
import { parseAddress } from '../shared/protocol/address.js';
import { defaultDurableDirectory, durableDirectory } from '../shared/state-directory.js';
import { productVersion } from '../shared/version.js';
import { defaultOptions } from '../source-agent/options.js';
import { trackerNames } from '../source-agent/tracker/index.js';
import type { Commands } from './requests.js';
import {
  parseChoice,
  parseForce,
  parseForces,
  parseMigration,
  parseMilliseconds,
  parsePid,
  parseRate,
  parseRounds,
  parseStdio,
  parseTarget,
} from './values.js';

export const secretVariable = 'MIGRATE_SECRET_FILE';

type Values = Record<string, string | undefined>;
type Switches = Record<string, boolean | undefined>;
interface Forced {
  force: readonly ErrorCode[];
}

const secretOption = () =>
  new Option('--secret-file <file>', 'file with the secret both hosts hold').env(secretVariable);
const stdioOption = () =>
  new Option('--stdio <where>', 'standard streams that lead out: log, null or a file on the target').default(
    defaultOptions.stdio,
  );
const compareOption = () =>
  new Option('--compare-contents', 'compare files by content even where both hosts see the same inode');
const forceOption = () =>
  new Option('--force <name>', 'accept a difference of the hosts, by its code; may be repeated')
    .argParser((name, before: readonly ErrorCode[]) => [...before, parseForce('--force', name)])
    .default([] as readonly ErrorCode[], 'nothing');
const recordsOption = () =>
  new Option(
    '--state-dir <dir>',
    `folder for the records of hand-overs: else $GODWIT_STATE, or ${defaultDurableDirectory}`,
  );
const jsonOption = (what: string) => new Option('--json', what);

/** Throws MigrationError 'usage' for what cannot be understood; what the command throws otherwise. */
export async function runCommandLine(argv: readonly string[], commands: Commands): Promise<number> {
  let exitCode: number = ExitCode.success;
  const program = createProgram(commands, (code) => {
    exitCode = code;
  });
  try {
    if (argv.length === 0) program.help({ error: true });
    await program.parseAsync(argv, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'commander.help') return ExitCode.usage;
    if (error.exitCode === 0) return ExitCode.success;
    throw new MigrationError('usage', error.message.replace(/^error: /, ''));
  }
  return exitCode;
}

/** `done` gets the exit code of the command that ran. */
export function createProgram(commands: Commands, done: (exitCode: number) => void): Command {
  const program = new Command('migrate');
  program
    .description('Moves a running process to another host while it works.')
    .version(productVersion, '--version')
    // Subcommands have options of the same names.
    .enablePositionalOptions()
    .helpCommand(true)
    .exitOverride()
    // What is wrong is told once, by whoever catches it.
    .configureOutput({ outputError: () => {} });

  program
    .argument('<pid>', 'process to move')
    .argument('<host:port>', 'where `migrate agent` listens')
    .addOption(secretOption())
    .option('--max-downtime <ms>', 'longest frozen time that is fine', String(defaultOptions.maxDowntimeMs))
    .option('--max-rounds <n>', 'most rounds before the freeze', String(defaultOptions.maxRounds))
    .option(
      '--bandwidth <rate>',
      'bytes a second on the wire: 500k, 100MB, 1.5G; 0: no limit',
      String(defaultOptions.bandwidth),
    )
    .option(
      '--on-stall <action>',
      'when rounds do not get shorter: force the freeze, or cancel',
      defaultOptions.onStall,
    )
    .addOption(stdioOption())
    .addOption(compareOption())
    .addOption(forceOption())
    .option('--compress <when>', 'compress pages: auto, always or never', defaultOptions.compress)
    .option(
      '--tracker <name>',
      'how written pages are found: auto, userfault, soft-dirty, or none (stop and copy)',
      defaultOptions.tracker,
    )
    .addOption(recordsOption())
    .addOption(jsonOption('one JSON object a line, the last the result'))
    .option('--quiet', 'print nothing but an error; with --json only the result')
    .action(async (pid: string, target: string, { force, ...options }: Values & Switches & Forced) => {
      const request = {
        pid: parsePid(pid),
        target: parseTarget(target),
        secretFile: text(options.secretFile),
        stateDirectory: text(options.stateDir),
        maxDowntimeMs: parseMilliseconds('--max-downtime', text(options.maxDowntime)!),
        maxRounds: parseRounds('--max-rounds', text(options.maxRounds)!),
        bandwidth: parseRate('--bandwidth', text(options.bandwidth)!),
        onStall: parseChoice('--on-stall', ['force', 'cancel'], text(options.onStall)!),
        stdio: parseStdio('--stdio', text(options.stdio)!),
        compareContents: options.compareContents === true,
        force,
        compress: parseChoice('--compress', ['auto', 'always', 'never'], text(options.compress)!),
        tracker: parseChoice('--tracker', ['auto', ...trackerNames], text(options.tracker)!),
        json: options.json === true,
        quiet: options.quiet === true,
      };
      done(await commands.migrate(request));
    });

  program
    .command('agent')
    .description('receives processes: run it on the target, as root')
    .requiredOption('--listen <host:port>', 'where to listen; :port for all addresses')
    .addOption(secretOption())
    .option('--state-dir <dir>', `folder for logs and records (default: ${durableDirectory()})`)
    .option('--allow-force <names>', 'what sources may force: names with commas, all or none', 'all')
    .option('--user <name>', 'account that the part on the network becomes (default: nobody)')
    .action(async (options: Values) => {
      const request = {
        listen: parseAddress(options.listen!),
        secretFile: options.secretFile,
        stateDirectory: durableDirectory(options.stateDir),
        allowForce: parseForces('--allow-force', options.allowForce!),
        user: options.user,
      };
      done(await commands.agent(request));
    });

  program
    .command('check')
    .description('lists everything that stands in the way of moving a process')
    .argument('<pid>', 'process to look at')
    .argument('[host:port]', 'target to compare with')
    .addOption(secretOption())
    .addOption(stdioOption())
    .addOption(compareOption())
    .addOption(forceOption())
    .addOption(jsonOption('the answer as one JSON object'))
    .action(
      async (pid: string, target: string | undefined, { force, ...options }: Values & Switches & Forced) => {
        const request = {
          pid: parsePid(pid),
          target: target === undefined ? null : parseTarget(target),
          secretFile: text(options.secretFile),
          stdio: parseStdio('--stdio', text(options.stdio)!),
          compareContents: options.compareContents === true,
          force,
          json: options.json === true,
        };
        done(await commands.check(request));
      },
    );

  program
    .command('status')
    .description('lists what was moved from and to this host, and what waits for a decision')
    .addOption(recordsOption())
    .option('--watch', 'print it again whenever it changes')
    .addOption(jsonOption('the list as one JSON object'))
    .action(async (options: Values & Switches) => {
      const request = {
        stateDirectory: text(options.stateDir),
        watch: options.watch === true,
        json: options.json === true,
      };
      done(await commands.status(request));
    });

  const decision = (want: 'resume' | 'abort', description: string, force: string) =>
    program
      .command(want)
      .description(description)
      .argument('<id>', 'migration, as `migrate status` names it')
      .addOption(secretOption())
      .addOption(recordsOption())
      .option('--force', force)
      .addOption(jsonOption('the result as one JSON object'))
      .action(async (migration: string, options: Values & Switches) => {
        const request = {
          want,
          migration: parseMigration(migration),
          force: options.force === true,
          secretFile: text(options.secretFile),
          stateDirectory: text(options.stateDir),
          json: options.json === true,
        };
        done(await commands.decide(request));
      });
  decision(
    'resume',
    'carries a hand-over through that was interrupted: asks the target, and ends or releases the process here',
    'do not ask the target: end the copy here',
  );
  decision(
    'abort',
    'has a process go on here whose hand-over was interrupted, if the target does not run it',
    'do not ask the target: let the copy here run, even if that makes two',
  );

  program
    .command('secret')
    .description('prints a new secret: migrate secret > FILE')
    .action(async () => done(await commands.secret()));

  program
    .command('demo')
    .description('moves a program on this machine alone while you watch')
    .action(async () => done(await commands.demo()));

  return program;
}

function text(value: string | boolean | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
