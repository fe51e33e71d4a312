/** Existing test files, run by the project's own runner on another kernel: one boot for all of them. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileResult } from '../run.js';
import { compileProgram, programNames } from '../support/programs.js';
import { nightly } from '../support/random.js';
import { skip } from '../support/skips.js';
import { type KernelName, prepareKernels } from './kernels.js';
import { Machine } from './machine.js';

/** How much longer everything may take in there. */
export const timeScale = '20';

/** Parts of names of test files, as the runner takes them; of migrate/programs, which of them (GODWIT_PROGRAMS). */
export interface Selection {
  files: readonly string[];
  programs: readonly string[];
}

/** With GODWIT_NIGHTLY=1 everything that moves or touches a process runs in there. */
const everything = ['native/', 'source/', 'migrate/'];
const limitSeconds = nightly ? 6 * 3600 : 1500;

/** Registers one test for each file, from what the machine's runner says of it; skips in there are skips here. */
export async function testKernel(name: KernelName, { files, programs }: Selection): Promise<void> {
  const kernels = prepareKernels();
  if (typeof kernels === 'string') return skip('virtual-machines', kernels);
  // The machine cannot write where compiled programs are kept.
  for (const program of [...programNames(), 'page-owner']) compileProgram(program);
  const kernel = kernels[name];
  await using machine = Machine.boot({
    kernel,
    command: [process.execPath, 'dist/test/run.js', '--json', ...(nightly ? everything : files)],
    env: { GODWIT_TIME_SCALE: timeScale, ...(nightly ? {} : { GODWIT_PROGRAMS: programs.join(',') }) },
    limitSeconds,
  });
  const { code, output, console: said } = await machine.end();
  const results = parseResults(output);
  for (const result of results) {
    for (const { name: what, reason } of result.skips) skip(what, `${result.file} on ${name}: ${reason}`);
    test(`${result.file} on ${name}`, () => {
      assert.is(result.problems.length, 0, `${result.problems.join('; ')}\n${result.output}`);
    });
    console.log(`${result.file}: ${result.passed} passed, ${(result.ms / 1000).toFixed(1)} s`);
  }
  test(`the machine with ${kernel.release} ran to its end`, () => {
    assert.ok(results.length > 0, `${output}\n${said}`);
    assert.is(code, 0, code === null ? `${output}\n${said}` : 'see the files above');
  });
}

function parseResults(output: string): FileResult[] {
  const lines = output.split('\n').filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as FileResult);
}
