/** What this host tells the other one before anything moves: preflight compares the two. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { native } from '../native/index.js';
import { parseMaps } from './proc/mappings.js';
import type { HostFacts } from './protocol/messages.js';
import { pageBytes } from './ranges.js';
import { productVersion } from './version.js';

export function hostFacts(): HostFacts {
  return {
    product: productVersion,
    architecture: process.arch,
    kernelRelease: os.release(),
    hostname: os.hostname(),
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    pageBytes: Number(pageBytes),
    vdso: vdsoDigest(process.pid),
    cpuFeatures: cpuFeatures(readFileSync('/proc/cpuinfo', 'utf8')),
    memoryBytes: availableMemory(readFileSync('/proc/meminfo', 'utf8')),
  };
}

/** SHA-256 of the vdso a process sees: it is the same in all processes of a kernel. */
export function vdsoDigest(pid: number): string {
  const vdso = parseMaps(readFileSync(`/proc/${pid}/maps`, 'utf8')).find(({ path }) => path === '[vdso]');
  const bytes = vdso ? native.readMemory(pid, vdso.start, Number(vdso.end - vdso.start)) : Buffer.alloc(0);
  return createHash('sha256').update(bytes).digest('hex');
}

function cpuFeatures(cpuinfo: string): string[] {
  const flags = /^flags\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? '';
  return flags
    .split(' ')
    .filter((flag) => flag !== '')
    .sort();
}

function availableMemory(meminfo: string): number {
  return Number(/^MemAvailable:\s*(\d+) kB$/m.exec(meminfo)?.[1] ?? 0) * 1024;
}
