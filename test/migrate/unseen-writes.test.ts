// time limit: 600 s
/** Memory that changes without a fault of the program, or is not where a tracker looks first. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Report } from '../../source-agent/report.js';
import { Settings, SlowDisk, SwapFile } from '../support/machine-settings.js';
import { ProgramRun, type StartOptions } from '../support/programs.js';
import { skip } from '../support/skips.js';
import { TwoHosts } from '../support/two-hosts.js';

async function moved(name: string, start: StartOptions, ...options: string[]): Promise<Report> {
  await using hosts = await TwoHosts.start();
  using run = await ProgramRun.start(name, start);
  const { code, result, output } = await hosts.move(run.pid, ...options);
  assert.is(code, 0, `${output}\n${hosts.targetLog}`);
  const { failures } = await run.check();
  assert.equal(failures, []);
  return result as Report;
}

/** Makes what the tests need of the machine, or says why they cannot run. */
function having<Setting extends Disposable>(name: string, make: () => Setting, tests: () => void): void {
  try {
    make()[Symbol.dispose]();
  } catch (error) {
    skip(name, (error as Error).message);
    return;
  }
  tests();
}

const slowDisk = () => new SlowDisk(8 << 20);
having('slow-disk', slowDisk, () => {
  // Each read is under way for a fraction of a second: many scans find its pages waiting for their content.
  for (const options of [[], ['--reopen']]) {
    test(`reads past the page cache ${options.join(' ')}`, async () => {
      using disk = slowDisk();
      await moved('direct-reader', { options, through: disk.through });
    });
  }
});

const swapFile = () => new SwapFile(32);
having('swap', swapFile, () => {
  test('memory in swap', async () => {
    using _swap = swapFile();
    await moved('memory-kinds', { options: ['--swap'] });
  });
});

const ksm = '/sys/kernel/mm/ksm';
const merging = () =>
  new Settings({ [`${ksm}/pages_to_scan`]: '20000', [`${ksm}/sleep_millisecs`]: '5', [`${ksm}/run`]: '1' });
having('page-merging', merging, () => {
  test('pages that the kernel merges meanwhile', async () => {
    using _merging = merging();
    await moved('growth', { options: ['--mb', '8', '--mergeable'] });
  });
});

test('growth to ten times the size during the rounds', async () => {
  // The limit keeps the rounds going while the program grows.
  const { bytes, rounds } = await moved('growth', { options: ['--mb', '10'] }, '--bandwidth', '40M');
  assert.ok(bytes.memory >= 60 << 20, `${bytes.memory} bytes in ${rounds} rounds`);
});

test.run();
