/**
 * Runs the tests: one process for each file, one line for each, and `N passed, N failed, N skipped` at the end.
 *
 *     node dist/test/run.js [--list] [--jobs N] [--limit SECONDS] [--progress SECONDS] [--dir FOLDER] [--json] [PART ...]
 *
 * A PART of a name chooses files. Of one that takes long, a line "...   NAME ..." tells every half minute (--progress)
 * that it still runs, and what it said last.
 * With --json each file is a line of JSON instead (FileResult), for a runner that started this one elsewhere.
 * Exit code 0 when something ran and all of it passed, else 1; 2 for wrong usage.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { declaredLimit, endAllRuns, runFile } from './support/file-run.js';
import { nightly } from './support/random.js';
import { timeScale } from './support/time.js';
import { judge, type Verdict } from './support/verdict.js';

const compiledTests = dirname(fileURLToPath(import.meta.url));
const sourceTests = resolve(compiledTests, '../../test');
const defaultLimitSeconds = 120;

interface Options {
  folder: string;
  parts: string[];
  list: boolean;
  jobs: number;
  limitSeconds: number;
  progressSeconds: number;
  json: boolean;
}

/** What --json tells of one file. */
export interface FileResult extends Verdict {
  file: string;
  output: string;
  ms: number;
}

interface TestFile {
  name: string;
  path: string;
  limitSeconds: number;
}

function readOptions(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      list: { type: 'boolean', default: false },
      jobs: { type: 'string', default: '1' },
      limit: { type: 'string', default: String(defaultLimitSeconds) },
      progress: { type: 'string', default: '30' },
      dir: { type: 'string', default: compiledTests },
      json: { type: 'boolean', default: false },
    },
  });
  return {
    folder: resolve(values.dir),
    parts: positionals,
    list: values.list,
    jobs: positive('--jobs', values.jobs),
    limitSeconds: positive('--limit', values.limit),
    progressSeconds: positive('--progress', values.progress),
    json: values.json,
  };
}

function positive(option: string, text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`${option} takes a whole number above 0, not "${text}"`);
  return Number(text);
}

function findFiles({ folder, limitSeconds }: Options): TestFile[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.test.js'))
    .sort()
    .flatMap((path) => {
      const compiled = join(folder, path);
      const source = sourceOf(compiled);
      // The compiler leaves the output of sources that have been removed.
      if (!existsSync(source)) return [];
      const declared = declaredLimit(readFileSync(source, 'utf8'));
      return [
        { name: path.slice(0, -8), path: compiled, limitSeconds: (declared ?? limitSeconds) * timeScale },
      ];
    });
}

/** Virtual machines under emulation take many minutes: they run when they are asked for by name, and every night. */
function isUsual({ name }: TestFile): boolean {
  return nightly || !name.startsWith('vm/');
}

/** Comments do not always survive the compiler, so a time limit is read in the source; elsewhere the file is its own. */
function sourceOf(compiled: string): string {
  const path = relative(compiledTests, compiled);
  return path.startsWith('..') ? compiled : join(sourceTests, `${path.slice(0, -3)}.ts`);
}

function report(file: TestFile, verdict: Verdict, output: string, ms: number): void {
  const what = verdict.problems.length === 0 ? 'ok  ' : 'FAIL';
  const lines = [`${what}  ${file.name}  ${verdict.passed} passed  ${ms.toFixed(0)} ms`];
  for (const { name, reason } of verdict.skips) lines.push(`      skipped ${name}: ${reason}`);
  for (const problem of verdict.problems) lines.push(`      ${problem}`);
  if (verdict.problems.length > 0) lines.push(output.trimEnd().replace(/^/gm, '    | '));
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function main(): Promise<number> {
  const options = readOptions();
  const all = findFiles(options);
  const isWanted = (file: TestFile, part: string) => `${file.name}.test`.includes(part);
  const chosen = all.filter((file) =>
    options.parts.length === 0 ? isUsual(file) : options.parts.some((part) => isWanted(file, part)),
  );
  const unmatched = options.parts.filter((part) => !all.some((file) => isWanted(file, part)));
  for (const part of unmatched) process.stdout.write(`FAIL  no test file has "${part}" in its name\n`);
  if (options.list) {
    for (const file of chosen) process.stdout.write(`${file.name}\n`);
    return unmatched.length === 0 ? 0 : 1;
  }

  const sum = { passed: 0, failed: unmatched.length, skipped: 0 };
  const queue = [...chosen];
  const work = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const start = performance.now();
      const elapsedMs = () => performance.now() - start;
      const evidence = await runFile(file.path, file.limitSeconds, {
        everyMs: options.progressSeconds * 1000,
        tell: (lastLine) =>
          process.stdout.write(`...   ${file.name}  ${elapsedMs().toFixed(0)} ms  ${lastLine}\n`),
      });
      const verdict = judge(evidence);
      const ms = elapsedMs();
      if (options.json) {
        const result: FileResult = { file: file.name, ...verdict, output: evidence.output, ms };
        process.stdout.write(`${JSON.stringify(result)}\n`);
      } else report(file, verdict, evidence.output, ms);
      sum.passed += verdict.passed;
      sum.failed += verdict.failed;
      sum.skipped += verdict.skips.length;
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));

  process.stdout.write(`\n${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped\n`);
  return sum.failed === 0 && sum.passed > 0 ? 0 : 1;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    endAllRuns();
    process.exit(1);
  });
try {
  process.exitCode = await main();
} catch (error) {
  endAllRuns();
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
