/** The machine's own speed, measured in the same run: what the other figures are to be compared with. */
import { execFileSync } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { arch, availableParallelism, cpus, release, totalmem } from 'node:os';
import { Compiled } from './compiled.js';
import { median } from './statistics.js';

const cipherRounds = 5;
const blockBytes = 64 << 10;
const blocks = 2048;

export interface Machine {
  cpu: string;
  cpus: number;
  memoryBytes: number;
  kernel: string;
  architecture: string;
  node: string;
  /** GB/s by what was measured: memcpy, process_vm_readv, loopback, aes-128-gcm. */
  speeds: Record<string, number>;
}

/** Throws Error where no C compiler can be run. */
export function measureMachine(): Machine {
  return { ...describeMachine(), speeds: { ...measureCopies(), 'aes-128-gcm': measureCipher() } };
}

export function describeMachine(): Omit<Machine, 'speeds'> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    architecture: arch(),
    node: process.version,
  };
}

function measureCopies(): Record<string, number> {
  using compiled = new Compiled('machine');
  const lines = execFileSync(compiled.program, { encoding: 'utf8' }).trim().split('\n');
  return Object.fromEntries(
    lines.map((line) => {
      const [name, speed] = line.split(' ') as [string, string];
      return [name, Number(speed)];
    }),
  );
}

/** The same library that seals page frames, in frames' sizes, on this thread. */
function measureCipher(): number {
  const block = randomBytes(blockBytes);
  const key = randomBytes(16);
  const once = () => {
    const started = performance.now();
    for (let i = 0; i < blocks; i += 1) {
      const cipher = createCipheriv('aes-128-gcm', key, randomBytes(12));
      cipher.update(block);
      cipher.final();
    }
    return (blocks * blockBytes) / (performance.now() - started) / 1e6;
  };
  once();
  return median(Array.from({ length: cipherRounds }, once));
}
