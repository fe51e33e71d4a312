import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createProgram } from '../../cli/program.js';
import { ExitCode } from '../../shared/errors.js';

// dist/test/unit/ -> docs/
const text = readFileSync(new URL('../../../docs/commands.md', import.meta.url), 'utf8');
const nothing = async () => 0;
const program = createProgram(
  {
    migrate: nothing,
    agent: nothing,
    check: nothing,
    status: nothing,
    decide: nothing,
    secret: nothing,
    demo: nothing,
  },
  () => {},
);

/** The part of the document below a heading. */
function section(heading: string): string {
  const [, body] = text.split(new RegExp(`^## ${heading}.*$`, 'm'));
  assert.ok(body, `no section "${heading}"`);
  return body!.split(/^## /m)[0]!;
}

test('every command and option is documented where it belongs', () => {
  for (const command of [program, ...program.commands]) {
    const name = command === program ? 'migrate PID' : `migrate ${command.name()}`;
    const body = section(name);
    for (const { long } of command.options) {
      if (long !== '--version') assert.match(body, new RegExp(`\`${long}[ \`]`), `${name} ${long}`);
    }
  }
});

test('no option is documented that does not exist', () => {
  const known = new Set(
    [program, ...program.commands].flatMap(({ options }) => options.map(({ long }) => long)),
  );
  const foreign = ['--help', '--pid', '--fork', '--mount-proc'];
  for (const [option] of text.matchAll(/--[a-z][a-z-]*/g)) {
    assert.ok(known.has(option) || foreign.includes(option), option);
  }
});

test('defaults are those of the program', () => {
  for (const { long, defaultValue } of [program, ...program.commands].flatMap(({ options }) => options)) {
    if (typeof defaultValue !== 'string') continue;
    assert.match(text, new RegExp(`^\\| \`${long} .*\\| ${defaultValue} \\|$`, 'm'), long ?? '');
  }
});

test('all exit codes', () => {
  const codes = [...section('Exit codes').matchAll(/^\| (\d) \|/gm)].map(([, code]) => Number(code));
  assert.equal(codes, Object.values(ExitCode));
});

test.run();
