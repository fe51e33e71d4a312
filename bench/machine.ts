/** The machine's own speed, measured in the same run: what the other figures are to be compared with. */
import { execFileSync } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { arch, availableParallelism, cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { median } from './statistics.js';

const source = fileURLToPath(new URL('../../bench/machine.c', import.meta.url));
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
  const folder = mkdtempSync(join(tmpdir(), 'godwit-bench-'));
  try {
    const program = join(folder, 'machine');
    execFileSync('cc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-o', program, source]);
    const lines = execFileSync(program, { encoding: 'utf8' }).trim().split('\n');
    return Object.fromEntries(
      lines.map((line) => {
        const [name, speed] = line.split(' ') as [string, string];
        return [name, Number(speed)];
      }),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
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
