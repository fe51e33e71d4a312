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

export interface Selection {
  /** Parts of names of test files, as the runner takes them. */
  usual: readonly string[];
  /** The same with GODWIT_NIGHTLY=1. */
  nightly: readonly string[];
  limitSeconds: number;
}

/** Registers one test for each file, from what the machine's runner says of it; skips in there are skips here. */
export async function testKernel(name: KernelName, selection: Selection): Promise<void> {
  const kernels = prepareKernels();
  if (typeof kernels === 'string') return skip('virtual-machines', kernels);
  // The machine cannot write where compiled programs are kept.
  for (const program of [...programNames(), 'page-owner']) compileProgram(program);
  const kernel = kernels[name];
  const files = nightly ? selection.nightly : selection.usual;
  await using machine = Machine.boot({
    kernel,
    command: [process.execPath, 'dist/test/run.js', '--json', ...files],
    env: { GODWIT_TIME_SCALE: timeScale },
    limitSeconds: selection.limitSeconds,
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
