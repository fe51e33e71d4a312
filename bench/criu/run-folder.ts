/**
 * CRIU keeps what it has found out about the kernel in /run, where that is a tmpfs; otherwise it asks anew at each
 * start, 50 ms that fall into the gap. No host for programs lacks that, so neither may this comparison.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { statfsSync } from 'node:fs';
import { tmpfsMagic } from './tmpfs.js';

export function hasTmpfsRun(): boolean {
  return statfsSync('/run').type === tmpfsMagic;
}

/** This same command once more, in a mount namespace of its own with a tmpfs at /run. Its exit code. */
export async function againWithTmpfsRun(): Promise<number> {
  const mounted = ['--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /run && exec "$@"', 'sh'];
  const child = spawn('unshare', [...mounted, process.execPath, ...process.argv.slice(1)], {
    stdio: 'inherit',
  });
  const [code] = await once(child, 'exit');
  return code ?? 1;
}
