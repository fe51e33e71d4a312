/** /proc/PID/status: fs/proc/array.c, proc_pid_status(5). */
import { unescapeName } from './escapes.js';
import { malformed } from './malformed.js';

export type FourIds = readonly [real: number, effective: number, saved: number, fileSystem: number];

/** The same by name. */
export function namedIds([real, effective, saved, fileSystem]: FourIds) {
  return { real, effective, saved, fileSystem };
}

export interface Status {
  /** The thread's name, unescaped. */
  name: string;
  /** null for a task that has ended. */
  umask: number | null;
  /** One letter: R running, S sleeping, D uninterruptible, T stopped, t traced, Z zombie, X dead, I idle, P parked. */
  state: string;
  tgid: number;
  pid: number;
  ppid: number;
  /** 0 when nothing traces it. */
  tracerPid: number;
  uids: FourIds;
  gids: FourIds;
  groups: number[];
  /** Ids at each level of pid namespaces, outermost (that of the reader) first. */
  nsTgid: number[];
  nsPid: number[];
  nsPgid: number[];
  nsSid: number[];
  /** null before Linux 6.10, which does not say; see PF_KTHREAD in stat.ts. */
  kernelThread: boolean | null;
  threads: number;
  /** Signal sets: signal n is bit n-1. */
  pendingThread: bigint;
  pendingShared: bigint;
  blocked: bigint;
  ignored: bigint;
  caught: bigint;
  capabilities: Capabilities;
  noNewPrivs: boolean;
  /** 0 off, 1 strict, 2 filter. */
  seccomp: number;
  /** null where the kernel does not tell (before Linux 5.9). */
  seccompFilters: number | null;
  voluntarySwitches: number;
  involuntarySwitches: number;
  /** x86_Thread_features: "shstk", "wrss"; empty where the kernel has none. */
  threadFeatures: string[];
  /** Sizes are 0 for tasks without memory of their own: kernel threads, zombies. */
  vmLockedBytes: number;
  vmSizeBytes: number;
  vmRssBytes: number;
  vmSwapBytes: number;
  /** Names of fields that this version does not know, and of those that tell what it cannot carry. */
  unknown: string[];
}

export interface Capabilities {
  inheritable: bigint;
  permitted: bigint;
  effective: bigint;
  bounding: bigint;
  ambient: bigint;
}

/** Fields whose meaning is known and which Status need not tell. */
const knownBesides = [
  ...['Ngid', 'FDSize', 'VmPeak', 'VmHWM', 'RssAnon', 'RssFile', 'RssShmem', 'VmData', 'VmStk'],
  ...['VmExe', 'VmLib', 'VmPTE', 'VmPMD', 'HugetlbPages', 'CoreDumping', 'THP_enabled', 'SigQ'],
  ...['Cpus_allowed', 'Cpus_allowed_list'],
  ...['Mems_allowed', 'Mems_allowed_list', 'x86_Thread_features_locked'],
];

/** Fields that must say what they say of nearly every task (or nothing, on kernels without them). */
const usual = {
  // Pages pinned for devices or io_uring, which write behind the page tables.
  VmPin: /^(0 kB)?$/,
  // Linear address masking: pointers with tags in them (ARCH_ENABLE_TAGGED_ADDR).
  untag_mask: /^((0x)?f{16})?$/,
  // A mitigation that the thread asked for with PR_SET_SPECULATION_CTRL.
  Speculation_Store_Bypass: /^(?!thread (force )?mitigated)/,
  SpeculationIndirectBranch: /^(?!conditional (force )?disabled)/,
} as const;

export function parseStatus(text: string): Status {
  const fields = new Fields(text);
  const status: Status = {
    name: unescapeName(fields.required('Name')),
    umask: optional(fields.take('Umask'), (octal) => integer('Umask', octal, 8)),
    state: fields.required('State').charAt(0),
    tgid: fields.number('Tgid'),
    pid: fields.number('Pid'),
    ppid: fields.number('PPid'),
    tracerPid: fields.number('TracerPid'),
    uids: fields.fourIds('Uid'),
    gids: fields.fourIds('Gid'),
    groups: fields.numbers('Groups'),
    nsTgid: fields.numbers('NStgid'),
    nsPid: fields.numbers('NSpid'),
    nsPgid: fields.numbers('NSpgid'),
    nsSid: fields.numbers('NSsid'),
    kernelThread: optional(fields.take('Kthread'), (flag) => flag === '1'),
    threads: fields.number('Threads'),
    pendingThread: fields.mask('SigPnd'),
    pendingShared: fields.mask('ShdPnd'),
    blocked: fields.mask('SigBlk'),
    ignored: fields.mask('SigIgn'),
    caught: fields.mask('SigCgt'),
    capabilities: {
      inheritable: fields.mask('CapInh'),
      permitted: fields.mask('CapPrm'),
      effective: fields.mask('CapEff'),
      bounding: fields.mask('CapBnd'),
      ambient: fields.mask('CapAmb'),
    },
    noNewPrivs: fields.number('NoNewPrivs') !== 0,
    // Absent only from kernels built without seccomp.
    seccomp: optional(fields.take('Seccomp'), (mode) => integer('Seccomp', mode, 10)) ?? 0,
    seccompFilters: optional(fields.take('Seccomp_filters'), (n) => integer('Seccomp_filters', n, 10)),
    voluntarySwitches: fields.number('voluntary_ctxt_switches'),
    involuntarySwitches: fields.number('nonvoluntary_ctxt_switches'),
    threadFeatures: words(fields.take('x86_Thread_features') ?? ''),
    vmLockedBytes: fields.bytes('VmLck'),
    vmSizeBytes: fields.bytes('VmSize'),
    vmRssBytes: fields.bytes('VmRSS'),
    vmSwapBytes: fields.bytes('VmSwap'),
    unknown: [],
  };
  const special = Object.entries(usual)
    .filter(([name, pattern]) => !pattern.test(fields.take(name)?.trim() ?? ''))
    .map(([name]) => name);
  for (const name of knownBesides) fields.take(name);
  status.unknown = [...special, ...fields.remaining()];
  return status;
}

/** The lines by name; what has been taken is gone, so that the rest is what nobody knows. */
class Fields {
  readonly #lines = new Map<string, string>();

  constructor(text: string) {
    for (const line of text.split('\n')) {
      if (line === '') continue;
      const colon = line.indexOf(':');
      if (colon <= 0) throw malformed('status', `"${line}"`);
      const name = line.slice(0, colon);
      // A name may begin or end with blanks of its own, so only the one tab is taken off.
      const value = line.slice(line[colon + 1] === '\t' ? colon + 2 : colon + 1);
      if (this.#lines.has(name)) throw malformed('status', `two fields "${name}"`);
      this.#lines.set(name, value);
    }
  }

  take(name: string): string | undefined {
    const value = this.#lines.get(name);
    this.#lines.delete(name);
    return value;
  }

  required(name: string): string {
    const value = this.take(name);
    if (value === undefined) throw malformed('status', `no field "${name}"`);
    return value;
  }

  number(name: string): number {
    return integer(name, this.required(name).trim(), 10);
  }

  numbers(name: string): number[] {
    return words(this.required(name)).map((word) => integer(name, word, 10));
  }

  fourIds(name: string): FourIds {
    const [real, effective, saved, fileSystem, ...more] = this.numbers(name);
    if (fileSystem === undefined || more.length > 0) throw malformed('status', `not four ids in "${name}"`);
    return [real!, effective!, saved!, fileSystem];
  }

  mask(name: string): bigint {
    const digits = this.required(name).trim();
    if (!/^[0-9a-f]{1,16}$/.test(digits)) throw malformed('status', `${name} "${digits}"`);
    return BigInt(`0x${digits}`);
  }

  bytes(name: string): number {
    const value = this.take(name);
    if (value === undefined) return 0;
    const digits = value.trim();
    if (!digits.endsWith(' kB')) throw malformed('status', `${name} "${digits}"`);
    return integer(name, digits.slice(0, -3), 10) * 1024;
  }

  remaining(): string[] {
    return [...this.#lines.keys()];
  }
}

function optional<T>(value: string | undefined, parse: (value: string) => T): T | null {
  return value === undefined ? null : parse(value.trim());
}

function integer(name: string, digits: string, radix: 8 | 10): number {
  if (!(radix === 8 ? /^[0-7]+$/ : /^\d+$/).test(digits)) throw malformed('status', `${name} "${digits}"`);
  return Number.parseInt(digits, radix);
}

function words(value: string): string[] {
  const trimmed = value.trim();
  return trimmed === '' ? [] : trimmed.split(/[ \t]+/);
}
