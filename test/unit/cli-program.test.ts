import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { runCommandLine, secretVariable } from '../../cli/program.js';
import type { Commands } from '../../cli/requests.js';
import { MigrationError } from '../../shared/errors.js';
import { forceableCodes } from '../../shared/force.js';

const test = suite('program');
let saved: string | undefined;
test.before(() => {
  saved = process.env[secretVariable];
});
test.before.each(() => {
  delete process.env[secretVariable];
});
test.after(() => {
  if (saved !== undefined) process.env[secretVariable] = saved;
});

/** The command that a command line asks for, with its request. */
async function asked(...argv: string[]): Promise<unknown[]> {
  const calls: unknown[] = [];
  const take = (name: string) => async (request?: unknown) => {
    calls.push(name, ...(request === undefined ? [] : [request]));
    return 42;
  };
  const commands: Commands = {
    migrate: take('migrate'),
    agent: take('agent'),
    check: take('check'),
    status: take('status'),
    decide: take('decide'),
    secret: take('secret'),
    demo: take('demo'),
  };
  assert.is(await runCommandLine(argv, commands), 42);
  return calls;
}

const defaults = {
  pid: 4711,
  target: { host: 'b', port: 7777 },
  secretFile: undefined,
  stateDirectory: undefined,
  maxDowntimeMs: 30,
  maxRounds: 30,
  bandwidth: 0,
  onStall: 'force',
  stdio: 'log',
  compareContents: false,
  force: [] as string[],
  compress: 'auto',
  tracker: 'auto',
  json: false,
  quiet: false,
};

test('a move with nothing said', async () => {
  assert.equal(await asked('4711', 'b:7777'), ['migrate', defaults]);
});

test('a move with everything said, before and after the operands', async () => {
  const line =
    '--max-downtime 2.5 --max-rounds 7 --bandwidth 100MB 4711 --on-stall cancel b:7777 --stdio /x ' +
    '--compare-contents --force wall-clock --compress never --tracker soft-dirty --force cpu-features --json ' +
    '--quiet --secret-file /s';
  assert.equal(await asked(...line.split(' ')), [
    'migrate',
    {
      ...defaults,
      secretFile: '/s',
      maxDowntimeMs: 2.5,
      maxRounds: 7,
      bandwidth: 100_000_000,
      onStall: 'cancel',
      stdio: '/x',
      compareContents: true,
      force: ['wall-clock', 'cpu-features'],
      compress: 'never',
      tracker: 'soft-dirty',
      json: true,
      quiet: true,
    },
  ]);
});

test('the secret file from the environment, which the option overrules', async () => {
  process.env[secretVariable] = '/env';
  assert.equal(await asked('4711', 'b:7777'), ['migrate', { ...defaults, secretFile: '/env' }]);
  assert.equal(await asked('4711', 'b:7777', '--secret-file=/option'), [
    'migrate',
    { ...defaults, secretFile: '/option' },
  ]);
});

test('agent', async () => {
  assert.equal(await asked('agent', '--listen', ':7777'), [
    'agent',
    {
      listen: { host: '', port: 7777 },
      secretFile: undefined,
      stateDirectory: '/var/lib/godwit',
      allowForce: forceableCodes,
      user: undefined,
    },
  ]);
  const line =
    'agent --listen [::1]:0 --secret-file /s --state-dir /var/lib/g --user carrier --allow-force wall-clock,more-cpus';
  assert.equal(await asked(...line.split(' ')), [
    'agent',
    {
      listen: { host: '::1', port: 0 },
      secretFile: '/s',
      stateDirectory: '/var/lib/g',
      allowForce: ['wall-clock', 'more-cpus'],
      user: 'carrier',
    },
  ]);
});

test('check, with and without a target', async () => {
  const request = {
    pid: 9,
    target: null,
    secretFile: undefined,
    stdio: 'log',
    compareContents: false,
    force: [],
    json: false,
  };
  assert.equal(await asked('check', '9'), ['check', request]);
  const line = 'check 9 b:1 --json --stdio null --compare-contents --force file-differs --secret-file /s';
  assert.equal(await asked(...line.split(' ')), [
    'check',
    {
      pid: 9,
      target: { host: 'b', port: 1 },
      secretFile: '/s',
      stdio: 'null',
      compareContents: true,
      force: ['file-differs'],
      json: true,
    },
  ]);
});

test('what one command line forces, the next does not', async () => {
  assert.equal(await asked('4711', 'b:7777', '--force', 'wall-clock'), [
    'migrate',
    { ...defaults, force: ['wall-clock'] },
  ]);
  assert.equal(await asked('4711', 'b:7777'), ['migrate', defaults]);
});

test('secret and demo', async () => {
  assert.equal(await asked('secret'), ['secret']);
  assert.equal(await asked('demo'), ['demo']);
});

test('what is no command line', async () => {
  const cases: [string, RegExp][] = [
    ['4711', /missing required argument 'host:port'/],
    ['4711 b:7777 more', /too many arguments/],
    ['x b:7777', /"x" is neither a process id nor a command/],
    ['4711 b', /"b" is no address/],
    ['4711 b:7777 --nope', /unknown option '--nope'/],
    ['4711 b:7777 --max-rounds', /argument missing/],
    ['4711 b:7777 --max-rounds x', /--max-rounds takes/],
    ['4711 b:7777 --on-stall wait', /--on-stall takes/],
    ['4711 b:7777 --compress yes', /--compress takes/],
    ['4711 b:7777 --force no-memory', /--force takes one of cpu-features, more-cpus, .*, not "no-memory"/],
    ['check 9 b:1 --force wall-clock,more-cpus', /--force takes one of/],
    ['agent --listen :1 --allow-force everything', /--allow-force takes one of/],
    ['4711 b:7777 --tracker best', /--tracker takes/],
    ['agent', /required option '--listen <host:port>' not specified/],
    ['agent --listen 7777', /"7777" is no address/],
    ['check', /missing required argument 'pid'/],
    ['secret more', /too many arguments/],
  ];
  for (const [line, message] of cases) {
    try {
      await asked(...line.split(' '));
    } catch (error) {
      assert.instance(error, MigrationError, line);
      assert.is((error as MigrationError).code, 'usage', line);
      assert.match((error as MigrationError).message, message);
      continue;
    }
    assert.unreachable(line);
  }
});

test('what to do about a hand-over that was interrupted', async () => {
  const given = { secretFile: undefined, stateDirectory: undefined, force: false, json: false };
  const migration = '0011223344556677';
  assert.equal(await asked('resume', migration), ['decide', { ...given, want: 'resume', migration }]);
  assert.equal(await asked('abort', migration, '--force'), [
    'decide',
    { ...given, want: 'abort', migration, force: true },
  ]);
  assert.equal(await asked('status', '--state-dir', '/srv', '--json'), [
    'status',
    { stateDirectory: '/srv', watch: false, json: true },
  ]);
  try {
    await asked('abort', '4711');
  } catch (error) {
    assert.is((error as MigrationError).code, 'usage');
    return;
  }
  assert.unreachable('a pid is no migration');
});

test('what a command throws comes through', async () => {
  const fail = async () => {
    throw new MigrationError('pid-taken', 'pid 1');
  };
  const commands: Commands = {
    migrate: fail,
    agent: fail,
    check: fail,
    status: fail,
    decide: fail,
    secret: fail,
    demo: fail,
  };
  try {
    await runCommandLine(['4711', 'b:7777'], commands);
  } catch (error) {
    assert.is((error as MigrationError).code, 'pid-taken');
    return;
  }
  assert.unreachable();
});

test.run();
