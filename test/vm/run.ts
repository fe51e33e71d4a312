/**
 * Runs a command on another kernel, by hand:
 *
 *     node dist/test/vm/run.js 6.1 node dist/test/run.js native/
 *
 * Its output follows as it comes, its exit code is ours; 125 where the machine ended without one.
 */
import { prepareKernels } from './kernels.js';
import { Machine } from './machine.js';

const [name, ...command] = process.argv.slice(2);
if ((name !== '6.1' && name !== '6.12') || command.length === 0) {
  process.stderr.write('usage: run.js 6.1|6.12 COMMAND [ARGUMENT ...]\n');
  process.exit(2);
}
const kernels = prepareKernels();
if (typeof kernels === 'string') throw new Error(kernels);
const chosen = Object.entries(process.env).filter(([variable]) => variable.startsWith('GODWIT_'));
await using machine = Machine.boot({
  kernel: kernels[name],
  command,
  env: Object.fromEntries(chosen) as Record<string, string>,
  limitSeconds: 3600,
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => void machine[Symbol.asyncDispose]().then(() => process.exit(1)));

for await (const line of machine.lines()) console.log(line);
const end = await machine.end();
if (end.code === null) process.stderr.write(end.console);
process.exitCode = end.code ?? 125;
