/** Modules that CRIU asks of a kernel before it does anything; in a machine that has just booted they are not loaded. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

/** Each after those it needs. */
const wanted = [
  'crc32c_generic',
  'libcrc32c',
  'nfnetlink',
  'nf_tables',
  'inet_diag',
  'tcp_diag',
  'udp_diag',
  'raw_diag',
  'unix_diag',
  'netlink_diag',
  'af_packet_diag',
  'veth',
  'tun',
];

/**
 * Loads what `folder`, an unpacked kernel package, has of them; the others are built in or do not exist. Throws Error
 * where one does not load. By busybox, which is in the machine already: hosts without modules have no insmod.
 */
export function loadModules(folder: string): void {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const unpacked = mkdtempSync(join(tmpdir(), 'godwit-modules-'));
  for (const name of wanted) {
    const file = files.find((path) => basename(path).replace(/\.xz$/, '') === `${name}.ko`);
    if (file === undefined) continue;
    const content = readFileSync(join(folder, file));
    const module = join(unpacked, `${name}.ko`);
    writeFileSync(module, file.endsWith('.xz') ? execFileSync('xz', ['-dc'], xzOptions(content)) : content);
    execFileSync('busybox', ['insmod', module]);
  }
  rmSync(unpacked, { recursive: true });
}

function xzOptions(input: Buffer) {
  return { input, maxBuffer: 64 << 20 };
}
