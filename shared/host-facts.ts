/** What this host tells the other one before anything moves: preflight compares the two. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import type { HostFacts } from './protocol/messages.js';
import { pageBytes } from './ranges.js';
import { ownVdso } from './vdso.js';
import { productVersion } from './version.js';

export function hostFacts(): HostFacts {
  return {
    product: productVersion,
    architecture: process.arch,
    kernelRelease: os.release(),
    hostname: os.hostname(),
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    pageBytes: Number(pageBytes),
    vdso: ownVdso().digest,
    cpuFeatures: cpuFeatures(readFileSync('/proc/cpuinfo', 'utf8')),
    memoryBytes: availableMemory(readFileSync('/proc/meminfo', 'utf8')),
  };
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
