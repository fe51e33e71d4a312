/**
 * Existing test files, run by the project's own runner on another kernel: one boot for all of them. Its lines are passed
 * on as they come.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { FileResult } from '../run.js';
import { compileProgram, programNames } from '../support/programs.js';
import { nightly } from '../support/random.js';
import { skip } from '../support/skips.js';
import { type KernelName, prepareKernels } from './kernels.js';
import { Machine } from './machine.js';

/**
 * What the kernels differ in: how memory is looked at, tasks are made, and what the trackers make of it. (native/vdso
 * steps through live functions: minutes of it on an emulated processor.)
 */
const usual = [
  ...['native/descriptors', 'native/landing', 'native/pagemap', 'native/process', 'native/proc-files'],
  ...['native/rehearsal', 'native/sent-pages', 'native/soft-dirty-pages', 'native/spawn'],
  ...['migrate/trackers', 'migrate/programs'],
];
/**
 * Of migrate/programs (GODWIT_PROGRAMS), with each tracker there is: the whole walk, and changes at full speed. Stop and
 * copy is in migrate/trackers.
 */
const usualPrograms = ['process with', '--ops 0 with soft-dirty', '--ops 0 with userfault'];
/** With GODWIT_NIGHTLY=1 everything that moves or touches a process runs in there, at full size. */
const everything = ['native/', 'source/', 'migrate/'];
const limitSeconds = nightly ? 6 * 3600 : 1200;

/** Registers one test for each file, from what the machine's runner says of it; skips in there are skips here. */
export async function testKernel(name: KernelName): Promise<void> {
  const kernels = prepareKernels();
  if (typeof kernels === 'string') return skip('virtual-machines', kernels);
  // The machine cannot write where compiled programs are kept.
  for (const program of [...programNames(), 'page-owner']) compileProgram(program);
  const kernel = kernels[name];
  await using machine = Machine.boot({
    kernel,
    command: [process.execPath, 'dist/test/run.js', '--json', ...(nightly ? everything : usual)],
    env: nightly ? { GODWIT_NIGHTLY: '1' } : { GODWIT_PROGRAMS: usualPrograms.join(',') },
    limitSeconds,
  });
  const results: FileResult[] = [];
  for await (const line of machine.lines()) {
    if (!line.startsWith('{')) {
      console.log(line);
      continue;
    }
    const result = JSON.parse(line) as FileResult;
    results.push(result);
    console.log(`${result.file}: ${result.passed} passed, ${(result.ms / 1000).toFixed(1)} s`);
  }
  const { code, output, console: said } = await machine.end();
  for (const result of results) {
    for (const { name: what, reason } of result.skips) skip(what, `${result.file} on ${name}: ${reason}`);
    test(`${result.file} on ${name}`, () => {
      // Its summary is not ours.
      const said = result.output.replace(/^/gm, '| ');
      assert.is(result.problems.length, 0, `${result.problems.join('; ')}\n${said}`);
    });
  }
  test(`the machine with ${kernel.release} ran to its end`, () => {
    assert.ok(results.length > 0, `${output}\n${said}`);
    assert.is(code, 0, code === null ? `${output}\n${said}` : 'see the files above');
  });
}
