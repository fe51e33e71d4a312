import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  parseChoice,
  parseForce,
  parseForces,
  parseMilliseconds,
  parsePid,
  parseRate,
  parseRounds,
  parseStdio,
  parseTarget,
} from '../../cli/values.js';
import { MigrationError } from '../../shared/errors.js';
import { forceableCodes } from '../../shared/force.js';

function refuses(parse: (text: string) => unknown, texts: string[], pattern: RegExp): void {
  for (const text of texts) {
    try {
      const value = parse(text);
      assert.unreachable(`${JSON.stringify(text)} became ${JSON.stringify(value)}`);
    } catch (error) {
      assert.instance(error, MigrationError, text);
      assert.is((error as MigrationError).code, 'usage', text);
      assert.match((error as MigrationError).message, pattern);
    }
  }
}

test('pids', () => {
  assert.is(parsePid('1'), 1);
  assert.is(parsePid('4194304'), 4194304);
  refuses(
    parsePid,
    ['', '0', '-1', '+1', '1.0', '1e3', '0x10', ' 1', '4194305', 'agnet', '9'.repeat(40)],
    /neither a process id nor a command$/,
  );
});

test('targets need a port', () => {
  assert.equal(parseTarget('b:7777'), { host: 'b', port: 7777 });
  refuses(parseTarget, ['b:0'], /names no port/);
  refuses(parseTarget, ['b', ''], /no address/);
});

test('milliseconds', () => {
  const parse = (text: string) => parseMilliseconds('--max-downtime', text);
  assert.is(parse('30'), 30);
  assert.is(parse('0.5'), 0.5);
  assert.is(parse('3600000'), 3_600_000);
  refuses(
    parse,
    ['', '0', '0.0', '-1', '30ms', '.5', '1e3', 'NaN', 'Infinity', '3600001'],
    /^--max-downtime takes/,
  );
});

test('rounds', () => {
  const parse = (text: string) => parseRounds('--max-rounds', text);
  assert.is(parse('1'), 1);
  assert.is(parse('1000'), 1000);
  refuses(parse, ['', '0', '1001', '1.5', '-3', 'x'], /^--max-rounds takes/);
});

test('rates in powers of 1000', () => {
  const parse = (text: string) => parseRate('--bandwidth', text);
  const cases: [string, number][] = [
    ['0', 0],
    ['1000', 1000],
    ['1k', 1000],
    ['500K', 500_000],
    ['100MB', 100_000_000],
    ['1.5G', 1_500_000_000],
    ['1.2345k', 1235],
    ['64kB', 64_000],
    ['5000B', 5000],
    ['1000G', 1e12],
  ];
  for (const [text, bytes] of cases) assert.is(parse(text), bytes, text);
  refuses(
    parse,
    [
      '',
      '-1',
      '1',
      '999',
      '0.5k',
      '100mb',
      '100m',
      '10mbit',
      '10Mbit',
      '10Mb',
      '1T',
      '1 G',
      'G',
      '1e9',
      '1001G',
    ],
    /^--bandwidth takes/,
  );
});

test('where standard streams go', () => {
  const parse = (text: string) => parseStdio('--stdio', text);
  for (const text of ['log', 'null', '/var/log/x']) assert.is(parse(text), text);
  refuses(parse, ['', 'Log', 'file', './x', '../x', '/a\0b'], /^--stdio takes/);
});

test('what can be forced, and what an agent allows', () => {
  assert.is(parseForce('--force', 'wall-clock'), 'wall-clock');
  refuses(
    (text) => parseForce('--force', text),
    ['', 'pid-taken', 'Wall-Clock', 'all'],
    /^--force takes one of/,
  );
  const parse = (text: string) => parseForces('--allow-force', text);
  assert.equal(parse('all'), forceableCodes);
  assert.equal(parse('none'), []);
  assert.equal(parse('wall-clock,signal-stack'), ['wall-clock', 'signal-stack']);
  refuses(parse, ['', 'all,none', 'wall-clock,', 'no-memory'], /^--allow-force takes one of/);
});

test('choices', () => {
  const parse = (text: string) => parseChoice('--on-stall', ['force', 'cancel'], text);
  assert.is(parse('cancel'), 'cancel');
  refuses(parse, ['', 'Force', 'throttle'], /^--on-stall takes force, cancel, not "/);
});

test.run();
