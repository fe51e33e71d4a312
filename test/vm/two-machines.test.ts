// time limit: 1800 s
/**
 * A process with threads that read the time goes from one machine to another with an older kernel and so with another
 * vdso, over a cable. With GODWIT_NIGHTLY=1 it goes to and fro ten times.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createSecret } from '../../shared/secret.js';
import { compileProgram } from '../support/programs.js';
import { nightly } from '../support/random.js';
import { skip } from '../support/skips.js';
import { type Kernel, prepareKernels } from './kernels.js';
import { connectPlugs, Machine, type MachineEnd, type Plug } from './machine.js';

const script = fileURLToPath(new URL('./to-and-fro.js', import.meta.url));
const moves = nightly ? 10 : 1;
// On the way back the clocks are behind.
const program = ['vdso', ...(nightly ? ['--clock-goes-back'] : [])];
const limitSeconds = 300 + 100 * moves;

const kernels = prepareKernels();
if (typeof kernels === 'string') skip('virtual-machines', kernels);
else {
  test(`${moves === 1 ? 'a move' : `${moves} moves to and fro`} between 6.12 and 6.1`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'godwit-cable-'));
    try {
      writeFileSync(join(folder, 'secret'), `${createSecret()}\n`, { mode: 0o600 });
      const [home, away] = await toAndFro(kernels['6.12'], kernels['6.1'], folder, program);
      const logs = readdirSync(folder).filter((name) => name.endsWith('.log'));
      const said = logs.map((name) => readFileSync(join(folder, name), 'utf8')).join('');
      const told = `${away.output}\n${said}`;
      assert.is(home.code, 0, home.code === null ? `${told}${home.console}` : told);
      assert.is(away.code, 0, away.code === null ? `${told}${away.console}` : told);
      assert.match(home.output, new RegExp(`^${moves} moves$`, 'm'));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

async function toAndFro(
  here: Kernel,
  there: Kernel,
  folder: string,
  program: readonly string[],
): Promise<[MachineEnd, MachineEnd]> {
  compileProgram(program[0]!);
  const plugs = await connectPlugs();
  const addresses = plugs.map(({ address }) => address.split('/')[0]!) as [string, string];
  const boot = (role: string, kernel: Kernel, plug: Plug, [own, other]: string[]) =>
    Machine.boot({
      kernel,
      command: [process.execPath, script, role, own!, other!, folder, String(moves), ...program],
      env: { TMPDIR: folder },
      limitSeconds,
      memoryMb: 768,
      cpus: 1,
      plug,
      shared: folder,
    });
  await using away = boot('away', there, plugs[1], addresses.toReversed());
  // A host that was booted first: its monotonic clock is ahead.
  for await (const line of away.lines()) if (line === 'booted') break;
  await using home = boot('home', here, plugs[0], addresses);
  for await (const line of home.lines()) console.log(line);
  const first = await home.end();
  // Without the first the second waits for ever.
  if (first.code !== 0) away.kill();
  return [first, await away.end()];
}

test.run();
