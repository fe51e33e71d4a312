/**
 * Debian's kernels and QEMU, made ready by prepare.sh. The kernels lie in the user's cache folder: 180 MB of downloads
 * should survive `npm ci`, which removes node_modules, and a restart, which clears the temporary folder.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type KernelName = '6.1' | '6.12';

export interface Kernel {
  /** What uname says. */
  release: string;
  /** A bootable image. */
  image: string;
  /** A folder of modules, with the order in which to load them. */
  modules: string;
}

const script = fileURLToPath(new URL('../../../test/vm/prepare.sh', import.meta.url));
const unavailable = 3;

/** The kernels, prepared where they were not; a string tells why they cannot be had here. */
export function prepareKernels(): Record<KernelName, Kernel> | string {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'godwit', 'kernels');
  const { status, signal, stderr } = spawnSync('bash', [script, cache], {
    encoding: 'utf8',
    stdio: ['ignore', 'inherit', 'pipe'],
    maxBuffer: 64 << 20,
  });
  if (status === unavailable) return stderr.trim().split('\n').at(-1)!;
  if (status !== 0) throw new Error(`${script} ended with ${signal ?? `exit code ${status}`}: ${stderr}`);
  return { '6.1': kernel(join(cache, '6.1')), '6.12': kernel(join(cache, '6.12')) };
}

function kernel(folder: string): Kernel {
  return {
    release: readFileSync(join(folder, 'release'), 'utf8').trim(),
    image: join(folder, 'vmlinuz'),
    modules: join(folder, 'modules'),
  };
}
