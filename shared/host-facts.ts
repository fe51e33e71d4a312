/** What this host tells the other one before anything moves: preflight compares the two. */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { native } from '../native/index.js';
import { extendedStatesOf, featuresOf } from './cpu-features.js';
import { AuxiliaryType, parseAuxv } from './proc/auxv.js';
import type { Clocks, HostFacts } from './protocol/messages.js';
import { pageBytes } from './ranges.js';
import { ownVdso } from './vdso.js';
import { productVersion } from './version.js';

/** Takes some 20 ms: the time-stamp counter is measured. */
export function hostFacts(): HostFacts {
  const enabled = native.enabledStates();
  const auxiliary = new Map(parseAuxv(readFileSync('/proc/self/auxv')));
  const clocksource = firstLine('/sys/devices/system/clocksource/clocksource0/current_clocksource');
  return {
    product: productVersion,
    architecture: process.arch,
    kernelRelease: os.release(),
    hostname: os.hostname(),
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    pageBytes: Number(pageBytes),
    vdso: ownVdso().digest,
    cpuFeatures: featuresOf(native.cpuid, enabled, auxiliary.get(AuxiliaryType.hardwareCapabilities2) ?? 0n),
    extendedStates: extendedStatesOf(native.cpuid, enabled),
    possibleCpus: highestCpu(readFileSync('/sys/devices/system/cpu/possible', 'utf8')) + 1,
    rseqFeatureBytes: Number(auxiliary.get(AuxiliaryType.rseqFeatureSize) ?? originalRseqBytes),
    clocksource,
    tscKilohertz: clocksource === 'tsc' ? tscKilohertz() : null,
    hugePages: /\[(\w+)\]/.exec(firstLine('/sys/kernel/mm/transparent_hugepage/enabled'))?.[1] ?? 'never',
  };
}

/** Kernels before 6.3 do not tell how much of struct rseq they fill: up to its flags. */
const originalRseqBytes = 20;
const clockIds = { realtime: 0, monotonic: 1, boottime: 7 } as const;

/** The clocks of this host at this moment, as a process of ours sees them. */
export function clocksNow(): Clocks {
  return {
    realtimeNs: native.clockNow(clockIds.realtime),
    monotonicNs: native.clockNow(clockIds.monotonic),
    boottimeNs: native.clockNow(clockIds.boottime),
  };
}

/** The highest number in a list of CPUs such as "0-3,8": cpuset(7). Pure. */
export function highestCpu(list: string): number {
  return Math.max(...list.trim().split(/[,-]/).map(Number));
}

const measureMs = 20;

// CLOCK_MONOTONIC_RAW counts the same ticks, divided by the frequency that the kernel found: what is measured is
// that frequency, not the accuracy of a clock.
function tscKilohertz(): number {
  const [before, beforeNs] = native.timeStampCounter();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, measureMs);
  const [after, afterNs] = native.timeStampCounter();
  return Math.round((Number(after - before) / Number(afterNs - beforeNs)) * 1e6);
}

function firstLine(file: string): string {
  try {
    return readFileSync(file, 'utf8').split('\n')[0]!;
  } catch {
    return ''; // built without it
  }
}
