import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseStat } from '../../shared/proc/stat.js';
import type { FileResult } from '../run.js';
import { declaredLimit } from '../support/file-run.js';

const runner = fileURLToPath(new URL('../run.js', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'godwit-runner-'));
test.after(() => rmSync(root, { recursive: true, force: true }));

const head = `import { test } from '${import.meta.resolve('uvu')}';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { skip } from '${new URL('../support/skips.js', import.meta.url).href}';
`;
const passing = "test('passes', () => {});\ntest.run();\n";
const hanging = "test('hangs', () => new Promise(() => setInterval(() => {}, 1000)));\ntest.run();\n";
const leaving = (child: string) => `test('leaves a child', async () => {
  const child = ${child};
  await new Promise((resolve) => child.once('spawn', resolve));
  child.unref();
  for (const stream of child.stdio) stream?.destroy();
});
test.run();
`;
const forgedSummary = "console.log('\\n  Total:     1\\n  Passed:    1\\n  Skipped:   0');\n";
const grandchildPid = join(root, 'grandchild');

/** Files that must count as failed: name, body, the reason that must be given. uvu itself passes most of them. */
const bad: [string, string, RegExp][] = [
  [
    'failing',
    `test('a', () => { console.log('said before'); throw new Error('the reason'); });\n${passing}`,
    /1 of 2 tests did not pass/,
  ],
  ['hook-before', `test.before(() => { throw new Error(); });\n${passing}`, /1 of 1 tests did not pass/],
  ['hook-each', `test.before.each(() => { throw new Error(); });\n${passing}`, /1 of 1 tests did not pass/],
  ['hook-after', `test.after(() => { throw new Error(); });\n${passing}`, /exit code 1/],
  ['string', `test('a', () => { throw 'text'; });\n${passing}`, /2 of 2 tests did not pass/],
  ['forgotten-run', "test('never runs', () => {});\n", /no summary/],
  ['no-tests', 'test.run();\n', /no tests/],
  ['unloadable', `import './absent.js';\n${passing}`, /exit code 1/],
  [
    'abort',
    `test('a', () => { console.log('last words'); process.abort(); });\n${passing}`,
    /ended by SIGABRT/,
  ],
  ['early-exit', `test('a', () => { process.exit(0); });\n${passing}`, /no summary/],
  ['forged-summary', forgedSummary + passing, /more than one summary/],
  ['hang', `// time limit: 1 s\n${hanging}`, /ran longer than 1 s/],
  [
    'hang-with-child',
    `// time limit: 2 s
const child = spawn('sleep', ['600'], { detached: true });
writeFileSync('${grandchildPid}', String(child.pid));
${hanging}`,
    /ran longer than 2 s/,
  ],
  ['child-in-group', leaving("spawn('sleep', ['600'])"), /left running: sleep \(pid \d+\)/],
  ['child-in-session', leaving("spawn('sleep', ['600'], { detached: true })"), /left running: sleep/],
  ['child-without-marker', leaving("spawn('sleep', ['600'], { env: {} })"), /left running: sleep/],
  ['unlisted-skip', `skip('too-hard', 'no time');\n${passing}`, /exit code 1/],
  ['forged-skip', `console.log('[skipped] too-hard: x');\n${passing}`, /skip "too-hard" is not on the list/],
  ['uvu-skip', `test.skip('a', () => {});\n${passing}`, /1 tests skipped without a name/],
  ['uvu-only', `test.only('a', () => {});\n${passing}`, /1 tests skipped without a name/],
];

interface Outcome {
  lines: string[];
  text: string;
  last: string | undefined;
  code: number | null;
}

/** Runs the runner over fixture files, given by name and body. */
function run(fixtures: Record<string, string>, ...options: string[]): Outcome {
  const folder = mkdtempSync(join(root, 'case-'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  mkdirSync(join(folder, 'inner'));
  for (const [name, body] of Object.entries(fixtures))
    writeFileSync(join(folder, 'inner', `${name}.test.js`), head + body);
  const { stdout, stderr, status } = spawnSync(process.execPath, [runner, '--dir', folder, ...options], {
    encoding: 'utf8',
  });
  const text = (stdout + stderr).trimEnd();
  const lines = text.split('\n');
  return { lines, text, last: lines.at(-1), code: status };
}

/** What the runner said of one file. */
function section({ text }: Outcome, name: string): string {
  const parts = text.split(/^(?=ok {4}|FAIL {2})/m);
  const own = parts.filter((part) => part.split(/ +/)[1] === `inner/${name}`);
  assert.is(own.length, 1, `one line for ${name} in:\n${text}`);
  return own[0]!;
}

function isAlive(pid: number): boolean {
  try {
    return !'ZX'.includes(parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1')).state);
  } catch {
    return false;
  }
}

let failures: Outcome;
test.before(() => {
  const fixtures = Object.fromEntries(bad.map(([name, body]) => [name, body]));
  failures = run({ ...fixtures, good: passing }, '--jobs', '6');
});

for (const [name, , problem] of bad)
  test(`counts as failed: ${name}`, () => {
    const said = section(failures, name);
    assert.match(said, /^FAIL/);
    assert.match(said, problem);
  });

test('a good file among them passes; all is counted', () => {
  assert.match(section(failures, 'good'), /^ok {4}inner\/good {2}1 passed {2}\d+ ms\n/);
  // A failed file counts for one test at least, "string" for its two.
  assert.match(failures.last!, new RegExp(`^\\d+ passed, ${bad.length + 1} failed, 1 skipped$`));
  assert.is(failures.code, 1);
});

test('each kind of failure alone makes the exit code 1', () => {
  assert.is(run({ a: 'test.run();\n' }).code, 1);
  assert.is(run({ a: `console.log('[skipped] too-hard: x');\n${passing}` }).code, 1);
});

test('the output of a failed file is shown, also before a crash', () => {
  assert.match(section(failures, 'failing'), /^ {4}\| .*said before$/m);
  assert.match(section(failures, 'failing'), /^ {4}\| .*the reason/m);
  assert.match(section(failures, 'abort'), /last words/);
});

test('what was left running is ended', () => {
  for (const name of ['child-in-group', 'child-in-session', 'child-without-marker']) {
    const pid = Number(/left running: sleep \(pid (\d+)\)/.exec(section(failures, name))![1]);
    assert.not(isAlive(pid), name);
  }
  // Slow machines may reach the limit before the child exists.
  if (existsSync(grandchildPid)) assert.not(isAlive(Number(readFileSync(grandchildPid, 'utf8'))));
});

test('good files pass, with a child that was ended in time and listed skips', () => {
  const outcome = run({
    two: "test('a', () => {});\ntest('b', async () => {});\ntest.run();\n",
    child: "test('a', () => { spawn('sleep', ['600']).kill('SIGKILL'); });\ntest.run();\n",
    only: "skip('soft-dirty', 'bit 55 is never set');\ntest.run();\n",
    some: `skip('huge-pages', 'none reserved');\n${passing}`,
  });
  assert.is(outcome.code, 0, outcome.text);
  assert.match(section(outcome, 'two'), /^ok {4}inner\/two {2}2 passed {2}\d+ ms\n/);
  assert.match(section(outcome, 'only'), /^ {6}skipped soft-dirty: bit 55 is never set$/m);
  assert.match(section(outcome, 'some'), /^ {6}skipped huge-pages: none reserved$/m);
  assert.is(outcome.last, '4 passed, 0 failed, 2 skipped');
});

test('the limit can be given', () => {
  const outcome = run({ a: hanging }, '--limit', '1');
  assert.match(section(outcome, 'a'), /ran longer than 1 s/);
});

test('a file that takes long is told of, with what it said last', () => {
  const slow = "test('a', () => new Promise((resolve) => setTimeout(resolve, 2500)));\ntest.run();\n";
  const { lines, code } = run({ slow: `console.log('first\\nlast');\n${slow}` }, '--progress', '1');
  assert.match(lines[0]!, /^\.{3} {3}inner\/slow {2}\d+ ms {2}last$/);
  assert.is(code, 0);
});

test('when nothing ran it is a failure', () => {
  const { lines, code } = run({});
  assert.equal(lines, ['', '0 passed, 0 failed, 0 skipped']);
  assert.is(code, 1);
  assert.is(run({ only: "skip('soft-dirty', 'none');\ntest.run();\n" }).code, 1);
});

test('a part of a name selects; a part that matches nothing fails', () => {
  const fixtures = { apple: passing, pear: passing };
  assert.equal(run(fixtures, '--list').lines, ['inner/apple', 'inner/pear']);
  assert.equal(run(fixtures, '--list', 'pp').lines, ['inner/apple']);
  const { last, code } = run(fixtures, 'pear', 'plum');
  assert.is(code, 1);
  assert.is(last, '1 passed, 1 failed, 0 skipped');
});

test('with --json each file is a line for another runner', () => {
  const { lines, code } = run(
    { good: passing, some: "skip('huge-pages', 'none');\n".concat(passing), hook: 'no\n' },
    '--json',
  );
  const results = lines.slice(0, 3).map((line) => JSON.parse(line) as FileResult);
  assert.equal(
    results.map(({ file, passed, failed, skips }) => [file, passed, failed, skips.length]),
    [
      ['inner/good', 1, 0, 0],
      ['inner/hook', 0, 1, 0],
      ['inner/some', 1, 0, 1],
    ],
  );
  assert.match(results[1]!.output, /no is not defined/);
  assert.is(code, 1);
});

test('GODWIT_TIME_SCALE stretches limits, declared ones too', () => {
  const slow = "test('a', () => new Promise((resolve) => setTimeout(resolve, 1500)));\ntest.run();\n";
  process.env.GODWIT_TIME_SCALE = '100';
  try {
    assert.is(run({ declared: `// time limit: 1 s\n${slow}` }).code, 0);
  } finally {
    delete process.env.GODWIT_TIME_SCALE;
  }
});

test('wrong options are usage', () => {
  assert.is(run({ good: passing }, '--jobs', 'many').code, 2);
  assert.is(run({ good: passing }, '--turbo').code, 2);
});

test('a runner that is ended ends what it runs', async () => {
  const folder = mkdtempSync(join(root, 'case-'));
  const pidFile = join(folder, 'pid');
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  const body = `${head}writeFileSync('${pidFile}', String(process.pid));\n${hanging}`;
  writeFileSync(join(folder, 'hang.test.js'), body);
  const child = spawn(process.execPath, [runner, '--dir', folder], {
    stdio: 'ignore',
    env: { ...process.env, TMPDIR: folder },
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  let pid = '';
  while (pid === '') {
    await sleep(20);
    if (existsSync(pidFile)) pid = readFileSync(pidFile, 'utf8');
  }
  child.kill('SIGTERM');
  assert.is(await ended, 1);
  while (isAlive(Number(pid))) await sleep(20);
  assert.equal(readdirSync(folder).sort(), ['hang.test.js', 'package.json', 'pid']);
});

test('a declared limit stands in a line of its own near the top', () => {
  assert.is(declaredLimit('import x;\n// time limit: 600 s\n'), 600);
  assert.is(declaredLimit('const text = "// time limit: 600 s";\n'), null);
  assert.is(declaredLimit(`${'\n'.repeat(5000)}// time limit: 600 s\n`), null);
});

test.run();
