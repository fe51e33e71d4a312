/**
 * godwit beside CRIU, as `npm run bench:criu`: the same programs on the same machine in the same run. README.md in the
 * folder above says how to read it.
 *
 *     node dist/bench/criu/main.js [--load MB[@RATE]]... [--way NAME]... [--runs N] [--quick] [--criu ROOT] [--out FILE]
 *         [--machine RUNNER --kernel DIR]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeMachine } from '../machine.js';
import { formatGoals } from '../table.js';
import { Criu } from './command.js';
import { type Comparison, compare, comparisonTable, goalsOf, reasons } from './compare.js';
import { fetchCriu } from './debian.js';
import { loadModules } from './kernel-modules.js';
import { type Load, parseLoad } from './load.js';
import { runInMachine } from './machine.js';
import { againWithTmpfsRun, hasTmpfsRun } from './run-folder.js';
import { type Way, ways } from './ways.js';

const results = fileURLToPath(new URL('../../../bench/results/', import.meta.url));
const unpacked = fileURLToPath(new URL('../../criu/', import.meta.url));
const quickRuns = 3;

interface Options {
  loads: Load[];
  chosen: Way[];
  runs: number;
  root: string;
  out: string;
  machine: { runner: string; kernel: string } | null;
  /** An unpacked kernel package whose modules are to be loaded first: that of the machine this runs in. */
  modules: string | null;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      load: { type: 'string', multiple: true },
      way: { type: 'string', multiple: true },
      runs: { type: 'string' },
      quick: { type: 'boolean', default: false },
      criu: { type: 'string' },
      out: { type: 'string' },
      machine: { type: 'string' },
      kernel: { type: 'string' },
      // For the comparison inside the machine: the kernel's modules.
      modules: { type: 'string' },
    },
  });
  const runs = Number(values.runs ?? (values.quick ? quickRuns : 10));
  if (!Number.isInteger(runs) || runs < 1) throw new Error('--runs takes a whole number above 0');
  if ((values.machine === undefined) !== (values.kernel === undefined)) {
    throw new Error('--machine and --kernel go together');
  }
  const inMachine = values.machine !== undefined;
  const loads = values.load ?? (inMachine ? ['32', '32@2'] : ['64', '512', '1024', '1024@100']);
  const names = values.way ?? (inMachine ? ['page-server', 'pre-dump'] : ['tmpfs', 'page-server']);
  const stamp = `criu-${new Date().toISOString().replace(/[:.]/g, '-')}.json`;
  return {
    loads: loads.map(parseLoad),
    chosen: names.map(wayNamed),
    runs,
    root: resolve(values.criu ?? unpacked),
    out: resolve(values.out ?? join(results, stamp)),
    machine: inMachine ? { runner: resolve(values.machine!), kernel: resolve(values.kernel!) } : null,
    modules: values.modules ?? null,
  };
}

function wayNamed(name: string): Way {
  const way = ways.find((entry) => entry.name === name);
  if (way === undefined) throw new Error(`--way takes ${ways.map((entry) => entry.name).join(', ')}`);
  return way;
}

async function main(): Promise<void> {
  const options = readOptions();
  await fetchCriu(options.root);
  mkdirSync(dirname(options.out), { recursive: true });
  if (options.machine) {
    await runInMachine({ ...options.machine, main: fileURLToPath(import.meta.url), options });
  } else if (hasTmpfsRun()) {
    await compareHere(options);
  } else {
    process.exitCode = await againWithTmpfsRun();
  }
}

async function compareHere({ loads, chosen, runs, root, out, modules }: Options): Promise<void> {
  if (modules !== null) loadModules(modules);
  const startedAt = new Date().toISOString();
  const criu = new Criu(root);
  const version = await criu.version();
  const machine = describeMachine();
  console.log(`CRIU ${version}, Linux ${machine.kernel}, ${machine.cpus} CPUs (${machine.cpu})`);
  console.log(`Gaps as the program sees them, medians of ${runs} moves in turns\n`);
  const comparisons: Comparison[] = [];
  for (const load of loads) {
    const comparison = await compare(criu, load, chosen, runs);
    comparisons.push(comparison);
    console.log([comparisonTable(comparison), ...reasons(comparison)].join('\n'), '\n');
  }
  const goals = goalsOf(comparisons);
  if (goals.length > 0) console.log(formatGoals(goals));
  writeFileSync(
    out,
    `${JSON.stringify({ startedAt, runs, version, machine, comparisons, goals }, null, 2)}\n`,
  );
  console.log(`\nall figures: ${out}`);
}

main().catch((error: unknown) => {
  console.error((error as Error).message);
  process.exitCode = 1;
});
