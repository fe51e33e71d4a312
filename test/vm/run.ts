/**
 * Runs a command on another kernel, by hand:
 *
 *     node dist/test/vm/run.js 6.1 node dist/test/run.js native/
 *
 * Its output follows as it comes, its exit code is ours; 125 where the machine ended without one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { prepareKernels } from './kernels.js';
import { Machine, type MachineEnd } from './machine.js';

const [name, ...command] = process.argv.slice(2);
if ((name !== '6.1' && name !== '6.12') || command.length === 0) {
  process.stderr.write('usage: run.js 6.1|6.12 COMMAND [ARGUMENT ...]\n');
  process.exit(2);
}
const kernels = prepareKernels();
if (typeof kernels === 'string') throw new Error(kernels);
const { GODWIT_TIME_SCALE = '20', ...environment } = process.env;
const chosen = Object.entries(environment).filter(([variable]) => variable.startsWith('GODWIT_'));
await using machine = Machine.boot({
  kernel: kernels[name],
  command,
  env: { GODWIT_TIME_SCALE, ...(Object.fromEntries(chosen) as Record<string, string>) },
  limitSeconds: 3600,
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => void machine[Symbol.asyncDispose]().then(() => process.exit(1)));

let shown = 0;
const show = (text: string) => {
  process.stdout.write(text.slice(shown));
  shown = text.length;
};
let end: MachineEnd | undefined;
const ended = machine.end().then((result) => {
  end = result;
});
while (end === undefined) {
  await Promise.race([ended, sleep(300)]);
  if (end === undefined) show(machine.output);
}
show(end.output);
if (end.code === null) process.stderr.write(end.console);
process.exitCode = end.code ?? 125;
