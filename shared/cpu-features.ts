/**
 * What of the CPU a program can come to rely on, read with CPUID as programs read it. /proc/cpuinfo is no measure: it
 * names what this kernel's version has names for, and much that only kernels use. The names are those of
 * /proc/cpuinfo (arch/x86/include/asm/cpufeatures.h), the bits those of the Intel SDM and the AMD APM. Left out is
 * what only kernels can use, and hints that other CPUs execute as no operation.
 */

/** eax, ebx, ecx, edx of a leaf. */
export type ReadLeaf = (leaf: number, subleaf: number) => ArrayLike<number>;

/** A component of XSAVE's standard format, beyond the legacy area: CPUID leaf 0xD. */
export interface ExtendedState {
  component: number;
  offset: number;
  bytes: number;
  /** A task has it only after it asked (ARCH_REQ_XCOMP_PERM): not in the signal frames of others. */
  dynamic: boolean;
}

const [eax, ebx, ecx, edx] = [0, 1, 2, 3] as const;

/** leaf, subleaf, register, names by bit */
const words: readonly [number, number, number, Readonly<Record<number, string>>][] = [
  [
    0x1,
    0,
    ecx,
    {
      ...{ 0: 'pni', 1: 'pclmulqdq', 9: 'ssse3', 12: 'fma', 13: 'cx16', 19: 'sse4_1', 20: 'sse4_2' },
      ...{ 22: 'movbe', 23: 'popcnt', 25: 'aes', 27: 'osxsave', 28: 'avx', 29: 'f16c', 30: 'rdrand' },
    },
  ],
  [
    0x1,
    0,
    edx,
    { 4: 'tsc', 8: 'cx8', 15: 'cmov', 19: 'clflush', 23: 'mmx', 24: 'fxsr', 25: 'sse', 26: 'sse2' },
  ],
  [
    0x7,
    0,
    ebx,
    {
      ...{ 3: 'bmi1', 4: 'hle', 5: 'avx2', 8: 'bmi2', 11: 'rtm', 14: 'mpx', 16: 'avx512f', 17: 'avx512dq' },
      ...{ 18: 'rdseed', 19: 'adx', 21: 'avx512ifma', 23: 'clflushopt', 24: 'clwb', 26: 'avx512pf' },
      ...{ 27: 'avx512er', 28: 'avx512cd', 29: 'sha_ni', 30: 'avx512bw', 31: 'avx512vl' },
    },
  ],
  [
    0x7,
    0,
    ecx,
    {
      ...{ 1: 'avx512vbmi', 4: 'ospke', 5: 'waitpkg', 6: 'avx512_vbmi2', 8: 'gfni', 9: 'vaes' },
      ...{ 10: 'vpclmulqdq', 11: 'avx512_vnni', 12: 'avx512_bitalg', 14: 'avx512_vpopcntdq', 22: 'rdpid' },
      ...{ 27: 'movdiri', 28: 'movdir64b' },
    },
  ],
  [
    0x7,
    0,
    edx,
    {
      ...{ 2: 'avx512_4vnniw', 3: 'avx512_4fmaps', 8: 'avx512_vp2intersect', 14: 'serialize' },
      ...{ 16: 'tsxldtrk', 22: 'amx_bf16', 23: 'avx512_fp16', 24: 'amx_tile', 25: 'amx_int8' },
    },
  ],
  [
    0x7,
    1,
    eax,
    {
      ...{ 0: 'sha512', 1: 'sm3', 2: 'sm4', 3: 'rao_int', 4: 'avx_vnni', 5: 'avx512_bf16', 7: 'cmpccxadd' },
      ...{ 21: 'amx_fp16', 23: 'avx_ifma', 31: 'movrs' },
    },
  ],
  [
    0x7,
    1,
    edx,
    { 4: 'avx_vnni_int8', 5: 'avx_ne_convert', 8: 'amx_complex', 10: 'avx_vnni_int16', 21: 'apx_f' },
  ],
  [0xd, 1, eax, { 0: 'xsaveopt', 1: 'xsavec', 2: 'xgetbv1' }],
  [
    0x80000001,
    0,
    ecx,
    {
      0: 'lahf_lm',
      5: 'abm',
      6: 'sse4a',
      7: 'misalignsse',
      11: 'xop',
      15: 'lwp',
      16: 'fma4',
      21: 'tbm',
      29: 'mwaitx',
    },
  ],
  [0x80000001, 0, edx, { 22: 'mmxext', 27: 'rdtscp', 30: '3dnowext', 31: '3dnow' }],
  [0x80000008, 0, ebx, { 0: 'clzero', 4: 'rdpru' }],
];

/** Bits of XCR0 without which a feature is there and cannot be used. */
const needed: readonly [RegExp, bigint][] = [
  [/^avx512/, 0xe6n],
  [/^amx_/, 0x60000n],
  [/^apx_/, 1n << 19n],
  [/^(avx|fma|f16c|xop|vaes|vpclmulqdq|sha512|sm3|sm4)/, 0x6n],
];

/** What the kernel, not the CPU, decides on: AT_HWCAP2 of asm/hwcap2.h. */
const capabilities2: readonly [bigint, string][] = [
  [1n << 0n, 'ring3mwait'],
  [1n << 1n, 'fsgsbase'],
];

/** Names of all features a program on this host may use, sorted. `enabled` is XCR0, `hwcap2` AT_HWCAP2. */
export function featuresOf(read: ReadLeaf, enabled: bigint, hwcap2: bigint): string[] {
  const features = capabilities2.filter(([bit]) => hwcap2 & bit).map(([, name]) => name);
  for (const [leaf, subleaf, register, names] of words) {
    const word = read(leaf, subleaf)[register]!;
    for (const [bit, name] of Object.entries(names)) {
      if ((word >>> Number(bit)) & 1 && isEnabled(name, enabled)) features.push(name);
    }
  }
  // Each version of AVX10 holds those before it.
  const avx10 =
    (read(0x7, 1)[edx]! >>> 19) & 1 && (enabled & 0xe6n) === 0xe6n ? read(0x24, 0)[ebx]! & 0xff : 0;
  for (let version = 1; version <= avx10; version += 1) features.push(`avx10.${version}`);
  return features.sort();
}

function isEnabled(name: string, enabled: bigint): boolean {
  const states = needed.find(([pattern]) => pattern.test(name))?.[1] ?? 0n;
  return (enabled & states) === states;
}

/** Where each enabled state component lies. The legacy area (x87 and SSE) is where it always was. */
export function extendedStatesOf(read: ReadLeaf, enabled: bigint): ExtendedState[] {
  const states: ExtendedState[] = [];
  for (let component = 2; component < 63; component += 1) {
    if (((enabled >> BigInt(component)) & 1n) === 0n) continue;
    const words = read(0xd, component);
    // Bit 2 of ecx: extended feature disable (XFD), with which the kernel keeps it from tasks that did not ask.
    states.push({
      component,
      bytes: words[eax]!,
      offset: words[ebx]!,
      dynamic: ((words[ecx]! >>> 2) & 1) === 1,
    });
  }
  return states;
}

/** The legacy area and the header of XSAVE. */
const leastStateBytes = 576;
/** struct rt_sigframe 440, FP_XSTATE_MAGIC2 4, alignments to 64 and 16: arch/x86/kernel/signal.c, get_sigframe. */
const frameBytes = 528;

/**
 * The room that a signal takes of a stack, of a task that did not ask for dynamic components. AT_MINSIGSTKSZ is no
 * measure: it holds these as well, and some to spare.
 */
export function signalFrameBytes(states: readonly ExtendedState[]): number {
  const ends = states.filter(({ dynamic }) => !dynamic).map(({ offset, bytes }) => offset + bytes);
  return frameBytes + Math.max(leastStateBytes, ...ends);
}
