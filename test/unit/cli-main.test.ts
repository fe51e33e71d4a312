import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Interrupts } from '../../cli/interrupts.js';

const main = fileURLToPath(new URL('../../cli/main.js', import.meta.url));

/** Runs the file itself, as `npx migrate` does. */
function run(...argv: string[]): { status: number | null; out: string; err: string } {
  const env = { ...process.env };
  for (const name of ['MIGRATE_SECRET_FILE', 'GODWIT_DEBUG']) delete env[name];
  const { status, stdout, stderr } = spawnSync(main, argv, { encoding: 'utf8', env });
  return { status, out: stdout, err: stderr };
}

test('help, version and secrets go to standard output', () => {
  const help = run('--help');
  assert.is(help.status, 0);
  assert.match(help.out, /^Usage: migrate /);
  assert.is(help.err, '');
  const version = run('--version');
  assert.is(version.status, 0);
  assert.match(version.out, /^\d+\.\d+\.\d+\n$/);
  const secret = run('secret');
  assert.is(secret.status, 0);
  assert.match(secret.out, /^godwit-secret-1:[A-Za-z0-9_-]{43}\n$/);
});

test('nothing said: help on standard error, and exit code 2', () => {
  const { status, out, err } = run();
  assert.is(status, 2);
  assert.is(out, '');
  assert.match(err, /^Usage: migrate /);
});

test('wrong usage: one sentence on standard error, and exit code 2', () => {
  const { status, out, err } = run('4711', 'b:1', '--nope');
  assert.is(status, 2);
  assert.is(out, '');
  assert.is(err, "migrate: unknown option '--nope' [usage]\n  See `migrate --help`.\n");
});

test('a missing secret, for people, quietly, and as JSON', () => {
  for (const quiet of [[], ['--quiet']]) {
    const { status, out, err } = run('4711', 'b:1', ...quiet);
    assert.is(status, 2);
    assert.is(out, '');
    assert.match(err, /\[secret-missing\]\n {2}while moving process 4711 to b:1\n {2}Make one with/);
  }
  const { status, out, err } = run('4711', 'b:1', '--json', '--secret-file', '/nonexistent');
  assert.is(status, 2);
  assert.is(err, '');
  const { outcome, code, sourcePid } = JSON.parse(out);
  assert.equal([outcome, code, sourcePid], ['refused', 'secret-missing', 4711]);
});

test('check needs a secret only where it has a target', () => {
  const { status, out } = run('check', '4711', 'b:1', '--json');
  assert.is(status, 2);
  assert.is(JSON.parse(out).code, 'secret-missing');
});

test('the first Ctrl-C aborts, the second says so, and later ones are not ours any more', () => {
  const said: string[] = [];
  const before = process.listenerCount('SIGINT');
  {
    using interrupts = new Interrupts(
      (name) => said.push(`first ${name}`),
      (name) => said.push(`again ${name}`),
    );
    assert.is(interrupts.signal.aborted, false);
    process.emit('SIGINT', 'SIGINT');
    assert.is(interrupts.signal.aborted, true);
    process.emit('SIGTERM', 'SIGTERM');
  }
  assert.equal(said, ['first SIGINT', 'again SIGTERM']);
  assert.is(process.listenerCount('SIGINT'), before);
});

test.run();
