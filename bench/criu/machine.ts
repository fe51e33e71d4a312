/** The same comparison inside a virtual machine, whose kernel has the soft-dirty bits that pre-dumps need. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname } from 'node:path';
import { compileProgram } from '../../test/support/programs.js';
import type { Load } from './load.js';
import type { Way } from './ways.js';

const memoryMegabytes = 2048;
const timeLimitSeconds = 1800;

export interface InMachine {
  /** A command that takes --kernel, --mem, --cpus, --timeout, --rw and, after --, what to run as root in the machine. */
  runner: string;
  /** An unpacked kernel package. */
  kernel: string;
  /** The comparison's own entry. */
  main: string;
  options: { loads: readonly Load[]; chosen: readonly Way[]; runs: number; root: string; out: string };
}

/** Throws Error where the machine, or the comparison in it, fails. It sees this machine's files, but cannot write. */
export async function runInMachine({ runner, kernel, main, options }: InMachine): Promise<void> {
  compileProgram('writer');
  const { loads, chosen, runs, root, out } = options;
  const comparison = [
    process.execPath,
    main,
    ...loads.flatMap(({ megabytes, rate }) => [
      '--load',
      rate === 0 ? `${megabytes}` : `${megabytes}@${rate}`,
    ]),
    ...chosen.flatMap(({ name }) => ['--way', name]),
    ...['--runs', String(runs), '--criu', root, '--out', out, '--modules', kernel],
  ];
  const machine = ['--kernel', kernel, '--mem', String(memoryMegabytes), '--cpus', '2'];
  const limits = ['--timeout', String(timeLimitSeconds), '--rw', dirname(out), '--rw', kernel];
  const child = spawn(runner, [...machine, ...limits, '--', ...comparison], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`the comparison in the machine ended with exit code ${code}`);
}
