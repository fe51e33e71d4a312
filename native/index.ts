/**
 * The only typed boundary to the addon (native/src, C++20). Everything here is thin: arguments are validated by
 * TypeScript's types and by the callers; each failed system call throws one KernelError.
 *
 * Addresses are bigints. Lists of ranges are flat BigUint64Arrays: [start, end, start, end ...], page aligned,
 * end exclusive; where a third word is documented the stride is 3.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { KernelError } from '../shared/errors.js';

/** [start, end, ...] */
export type Ranges = BigUint64Array;

// ---------------------------------------------------------------- tracees (src/tracee.cc; ptrace(2))
// All of these belong to the thread that seized: call them from the main thread only.

/** How a wait for a tracee ended. `event` is PTRACE_EVENT_* (0 for a plain signal-delivery stop). */
export type TraceeState =
  | { state: 'stopped'; signal: number; event: number }
  | { state: 'exited'; code: number }
  | { state: 'killed'; signal: number };

/** What ptrace tells of one stopped thread. */
export interface ThreadImage {
  tid: number;
  /** struct user_regs_struct, 27 words in its order. */
  registers: BigUint64Array;
  /** NT_X86_XSTATE, as long as the kernel gives it. */
  extendedState: Uint8Array;
  signalMask: bigint;
  /** PTRACE_GET_RSEQ_CONFIGURATION; null when nothing is registered. */
  rseq: { address: bigint; size: number; signature: number } | null;
  /** siginfo_t (128 bytes each) queued for this thread alone. */
  pending: Uint8Array[];
}

// ---------------------------------------------------------------- remote system calls (src/injection.cc)

/** Bytes that a stub takes: its code, then the table from 4096 on, then arguments from stubScratch on. */
export const carrierBytes = 0x20000n;
export const stubScratch = 0x10000n;

/** Calls as a flat table of 8 words: number, six arguments, result. Results are negative errnos like the kernel's. */
export type CallTable = BigInt64Array;

/** Arguments of injected calls at or above this value name bytes of `argumentBytes`: base + offset. */
export const argumentBase = 0x7fff000000000000n;

/**
 * One thread of a source that carries a detached stub: batches run without any ptrace stop. When the agent dies the
 * stub closes and unmaps all it brought and the thread returns to its home registers by itself.
 */
export interface NativeCarrier {
  readonly tid: number;
  /** Where the stub is mapped: not part of the program. */
  readonly start: bigint;
  readonly end: bigint;
  /** Memory inside the stub for the arguments of batches. */
  readonly scratch: bigint;
  readonly scratchBytes: number;
  /** The stub's own descriptor in the process: not part of the program. */
  readonly descriptor: number;
  /**
   * Runs a table in place: results are in word 8 of each entry. The descriptor that entry `owned` returns belongs to
   * the agent: the stub closes it before the next batch, or when the agent dies.
   */
  run(table: CallTable, owned?: number): void;
  /** Seizes the thread again and stops it, the stub still in place. No batch runs after it. Returns SIGTRAP, or the
   *  signal that stops the whole process. */
  stop(): number;
  /** Removes the stub. The thread ends seized and stopped, with its own registers and mask. */
  release(): void;
}

// ---------------------------------------------------------------- pages (src/pagemap.cc, userfault.cc, soft_dirty_pages.cc)

export const ScanMode = {
  /** Written and present or swapped pages (categories present, swapped, zero); they are write-protected again in the
   *  same step. Holes are left alone. */
  collect: 0,
  /** The same without protecting again: the last, frozen scan (categories present, swapped). Also returns dropped
   *  pages and holes that were never protected (category 0). */
  final: 1,
  /** Pages with content of their own (anonymous or copied on write; neither file-backed nor the zero page). */
  content: 2,
  /** collect and final for private file mappings: pages of the file itself are left out. */
  collectOwn: 3,
  finalOwn: 4,
  /** content as kernels without PAGEMAP_SCAN have it, by reading the file: where content cannot scan it does the same. */
  contentByReading: 5,
  /** Guard pages (MADV_GUARD_INSTALL); none on kernels without that category (before 6.15). */
  guards: 6,
  /** Memory mapped by huge pages. */
  huge: 7,
} as const;
export type ScanMode = (typeof ScanMode)[keyof typeof ScanMode];

/** PAGE_IS_* of linux/fs.h, as returned in the third word of scan results. */
export const PageCategory = {
  written: 2n,
  file: 4n,
  present: 8n,
  swapped: 16n,
  zero: 32n,
  huge: 64n,
  guard: 256n,
} as const;

/** The result of a scan. */
export interface ScanResult {
  /** Stride 3: [start, end, categories]. Adjacent equal ranges are merged. */
  pages: BigUint64Array;
  /** Ranges whose mapping is not registered with the tracker any more (the kernel answered EPERM): the rest of the
   *  span where that was found. Spans are sorted, disjoint, one for each mapping. */
  untracked: Ranges;
}

export const UserfaultFeature = {
  pagefaultFlagWp: 1n << 0n,
  eventRemove: 1n << 3n,
  sigbus: 1n << 7n,
  wpHugetlbfsShmem: 1n << 12n,
  wpUnpopulated: 1n << 13n,
  wpAsync: 1n << 15n,
} as const;
export const UserfaultMode = { missing: 1, writeProtect: 2 } as const;

// ---------------------------------------------------------------- the data plane (src/page_sender.cc, page_receiver.cc)

/** Which pages have been sent and not dropped since: a bitmap over the whole address space. */
export interface NativeSentPages {
  /** Sub-ranges of `ranges` that are marked. */
  select(ranges: Ranges): Ranges;
  forget(ranges: Ranges): void;
  /** All marked pages as merged ranges. */
  all(): Ranges;
  readonly count: number;
}

/**
 * Pages of one process by their soft-dirty bits (Documentation/admin-guide/mm/soft-dirty.rst), and by where each was
 * when it was last taken: moved by mremap(2) with its page table a page keeps its bit, so a clean page need not be the
 * one that was there before. `spans` are sorted and disjoint, stride 3: [start, end, RunFlag]. `pagemap` must have been
 * opened with CAP_SYS_ADMIN: else the places are not told.
 */
export interface NativeSoftDirtyPages {
  /** Pages with content of their own that were written or came since they were taken; they are taken now. To be called
   *  on a stopped process right before its bits are cleared. Blocks; `runs` has stride 3 and the flags of the spans. */
  take(pagemap: number, spans: BigUint64Array, threads: number): { runs: BigUint64Array };
  /** The same without taking them, and which of the sent pages have no content of their own any more. */
  look(
    pagemap: number,
    spans: BigUint64Array,
    threads: number,
  ): Promise<{ runs: BigUint64Array; dropped: Ranges }>;
  /** As if these had never been taken. */
  forget(ranges: Ranges): void;
}

/** Third word of a run handed to the sender. */
export const RunFlag = {
  /** Private anonymous memory: a page of zeros that was never sent need not travel. */
  anonymous: 1n,
} as const;

export interface SendRequest {
  pid: number;
  /** /proc/PID/mem, for pages that process_vm_readv may not read (no read permission). */
  memory: number;
  /** Stride 3: [start, end, RunFlag]. */
  runs: BigUint64Array;
  sent: NativeSentPages;
}

export interface SendResult {
  /** Pages whose content travelled. */
  pages: number;
  /** Pages of zeros that travelled as a mark only. */
  zeroPages: number;
  /** Pages of zeros that did not travel at all. */
  skippedPages: number;
  /** Pages that could not be read: unmapped or changed meanwhile. */
  missing: Ranges;
  frames: number;
  /** Bytes on the wire, headers and tags included. */
  wireBytes: number;
  /** Time spent working, in milliseconds (waiting for the bandwidth limit excluded). */
  busyMs: number;
}

export interface NativePageSender {
  /** Reads, encrypts and sends on the sender's own thread; calls queue up in order. */
  send(request: SendRequest): Promise<SendResult>;
  /** The same up to the point of sending: plain payloads for compression (see shared/page-frames.ts), marked as sent.
   *  They are all in memory at once: ask for a few megabytes at a time. `frames` counts them, `wireBytes` is 0. */
  gather(request: SendRequest): Promise<{ payloads: Buffer[]; result: SendResult }>;
  /** Encrypts and sends one payload made by gather, compressed by the caller: the whole body of the frame. */
  sendCompressed(payload: Uint8Array): Promise<{ wireBytes: number; busyMs: number }>;
  /** Bytes a second on the wire; 0 for no limit. */
  setBandwidth(bytesPerSecond: number): void;
  /** Frames sent so far on this channel. */
  readonly frames: number;
  /** Says goodbye when idle, else cuts the connection. What is queued rejects with ECANCELED. */
  close(): void;
}

export interface ReceiveProgress {
  frames: number;
  pages: number;
  zeroPages: number;
  /** Bytes of page content landed. */
  bytes: number;
  wireBytes: number;
}

export interface NativePageReceiver {
  /** Where pages may land; a frame that names anything else ends the channel with an error. Set it before the sender
   *  is told that it may send there. */
  setAllowed(ranges: Ranges): void;
  /** Memory of the skeleton: a descriptor of /proc/PID/mem and a userfaultfd registered for missing pages (or -1),
   *  with UserfaultFeature.sigbus: else a write into a hole would wait for ever. The receiver owns duplicates. Landing waits until this was called. */
  setTarget(memory: number, userfault: number): void;
  /** Closes the receiver's userfaultfd; pages land through /proc/PID/mem from here on. */
  closeUserfault(): void;
  /** Lands the payload of the compressed frame that waits (see onCompressed); nothing behind it is read before. */
  land(payload: Uint8Array): Promise<void>;
  /** Resolves when that many frames have landed in all; rejects when the channel ends before. */
  waitFor(frames: number): Promise<ReceiveProgress>;
  readonly progress: ReceiveProgress;
  close(): void;
}

// ---------------------------------------------------------------- kernel objects (src/descriptors.cc, process.cc)

export interface DescriptorEntry {
  fd: number;
  /** readlink of /proc/PID/fd/N, decoded as UTF-8: a name with other bytes holds U+FFFD and cannot be opened by it */
  path: string;
  /** text of /proc/PID/fdinfo/N */
  info: string;
  /** stat of /proc/PID/fd/N (follows the link) */
  device: bigint;
  inode: bigint;
  mode: number;
  specialDevice: bigint;
  size: bigint;
  /** nanoseconds since the epoch */
  modified: bigint;
  changed: bigint;
}

export interface SpawnOptions {
  program: string;
  /** Ids for clone3's set_tid, innermost pid namespace first; empty for any id. */
  pids: number[];
  /** Descriptors to give it: [ours, theirs]; all others are closed. */
  descriptors: [number, number][];
  /** Start a session of its own. */
  newSession: boolean;
}

export interface SchedulingAttributes {
  policy: number;
  flags: bigint;
  /** -20 to 19; also of a task whose policy does not use it now */
  nice: number;
  priority: number;
  /** nanoseconds; under SCHED_OTHER and SCHED_BATCH the length of a slice, which kernels before 6.12 tell as 0 */
  runtime: bigint;
  deadline: bigint;
  period: bigint;
}

export interface ChildStatus {
  pid: number;
  /** exit code, or null when a signal ended it; both null when it was not our child to collect */
  code: number | null;
  signal: number | null;
  coreDumped: boolean;
}

interface Addon {
  // tracee.cc
  /** PTRACE_SEIZE with PTRACE_O_* options. */
  seize(tid: number, options: number): void;
  /** Seizes (options) and interrupts all tids, then waits for every one. Throws ETIMEDOUT after timeoutMs with all of
   *  them detached again, ESRCH entries are returned as exited. */
  seizeAndStop(tids: number[], options: number, timeoutMs: number): TraceeState[];
  /** Interrupts tids that are already seized and running, and waits. */
  interruptAndStop(tids: number[], timeoutMs: number): TraceeState[];
  waitTracee(tid: number, timeoutMs: number): TraceeState;
  resumeTracee(tid: number, signal: number): void;
  /** Detaches all; a tid that is gone is no error. */
  detach(tids: number[]): void;
  /** Sets PTRACE_O_* options of a stopped tracee. */
  setTraceOptions(tid: number, options: number): void;
  /** PTRACE_GETEVENTMSG. */
  eventMessage(tid: number): number;
  readThreads(tids: number[]): ThreadImage[];
  /** Parts that are undefined are left alone. */
  writeThread(tid: number, registers?: BigUint64Array, extendedState?: Uint8Array, signalMask?: bigint): void;
  /** siginfo_t queued for the whole thread group (true) or this thread. */
  peekSignals(tid: number, shared: boolean): Uint8Array[];

  // injection.cc
  /** Address of a byte pattern in readable memory of a process, or null. */
  findBytes(pid: number, ranges: Ranges, pattern: Uint8Array): bigint | null;
  /**
   * Runs a few calls in a stopped, seized thread of a source. `home` are the registers it continues with should the
   * agent die meanwhile; otherwise it ends stopped with the registers and mask of `image`. Arguments from argumentBase
   * on name bytes of `argumentBytes`, which lie on the thread's stack meanwhile and are returned as they are after.
   * What they cover there is put back. Throws EFAULT where the stack has no room above `floor`.
   */
  injectCalls(
    image: ThreadImage,
    home: BigUint64Array,
    gadget: bigint,
    restorer: bigint,
    table: CallTable,
    argumentBytes: Uint8Array,
    floor: bigint,
  ): Uint8Array;
  /** Installs the carrier stub at a free range of carrierBytes in a stopped, seized thread and detaches that thread.
   *  Throws EFAULT where its stack has no room above `floor`. */
  carry(
    image: ThreadImage,
    home: BigUint64Array,
    gadget: bigint,
    restorer: bigint,
    address: bigint,
    pidfd: number,
    floor: bigint,
  ): NativeCarrier;
  /** Maps the table stub into a traced process of ours (a skeleton) at a free address; single-steps from `gadget`,
   *  a syscall instruction in it. Throws EEXIST where the range is taken. */
  mapStub(tid: number, gadget: bigint, address: bigint, bytes: number): void;
  /** Runs a table in a traced, stopped task whose address space holds the stub; table memory starts at
   *  address + 4096. Returns children made by clone calls (tids in our pid namespace), stopped. */
  runTable(tid: number, stub: bigint, table: CallTable): number[];
  /** One single-stepped call from a gadget, for tasks of ours without a stub. */
  stepCall(tid: number, gadget: bigint, call: CallTable): void;

  /** Makes a stopped task of ours (traced with PTRACE_O_TRACESYSGOOD) enter a waiting call from a syscall instruction and
   *  interrupts it there: its kernel then holds the restart block of that call. The result is what rax says: -516, or
   *  that of a call that had nothing to wait for. */
  armWait(tid: number, gadget: bigint, call: CallTable): void;

  // memory.cc
  readMemory(pid: number, address: bigint, bytes: number): Buffer;
  /** process_vm_writev; throws EFAULT on a partial write. */
  writeMemory(pid: number, address: bigint, data: Uint8Array): void;

  // pagemap.cc
  /** Scans on the calling thread. `pagemap` is a descriptor of /proc/PID/pagemap. */
  scanPages(pagemap: number, spans: Ranges, mode: ScanMode): ScanResult;
  /** The same on `threads` threads of the addon, the spans split between them. */
  scanPagesAsync(pagemap: number, spans: Ranges, mode: ScanMode, threads: number): Promise<ScanResult>;

  // userfault.cc
  /** The mapping that holds an address at this moment (PROCMAP_QUERY on a descriptor of /proc/PID/maps); null where
   *  there is none. Throws ENOTTY before Linux 6.11. */
  mappingAt(maps: number, address: bigint): { start: bigint; end: bigint } | null;
  /** UFFDIO_API. Returns the features the kernel has. Throws EINVAL when one that was asked for is missing. */
  userfaultApi(userfault: number, features: bigint): bigint;
  userfaultRegister(userfault: number, start: bigint, end: bigint, mode: number): void;
  /** Takes the write protection off: every page in the range counts as written. */
  userfaultUnprotect(userfault: number, start: bigint, end: bigint): void;

  // tracking_probe.cc
  /** Whether writes to a page of ours are told by a userfaultfd with these features and PAGEMAP_SCAN, once each. Throws
   *  KernelError: the call that this kernel, or our rights, do not allow. */
  probeUserfault(features: bigint): boolean;

  // soft_dirty_pages.cc
  SoftDirtyPages: new (
    sent: NativeSentPages,
  ) => NativeSoftDirtyPages;

  // sent_pages.cc, page_sender.cc, page_receiver.cc
  SentPages: new () => NativeSentPages;
  PageSender: new (options: {
    socket: number;
    key: Uint8Array;
    channel: number;
    bandwidth: number;
  }) => NativePageSender;
  PageReceiver: new (options: {
    socket: number;
    key: Uint8Array;
    channel: number;
    /** Called on the main thread with each compressed payload; the caller uncompresses it and calls land. */
    onCompressed: (payload: Buffer) => void;
    /** Called once when the channel ends; null for an orderly end. EPROTO: what came is no page frame; EBADMSG: not
     *  sealed with this key; ECONNRESET: no goodbye. Not called after close(). */
    onEnd: (error: Error | null) => void;
  }) => NativePageReceiver;

  // descriptors.cc
  pidfdOpen(pid: number): number;
  /** A duplicate of another process's descriptor, sharing its open file description. */
  pidfdGetfd(pidfd: number, fd: number): number;
  /** kcmp(2): 0 the same object, 1 and 2 less and greater, 3 different without an order. `type`: KCMP_FILE 0, VM 1, FILES 2, FS 3, SIGHAND 4, IO 5, SYSVSEM 6. */
  kcmp(pid1: number, pid2: number, type: number, a: number, b: number): number;
  /** pipe2(2): [read end, write end], close-on-exec. */
  pipe(): [number, number];
  /** Unix stream sockets, close-on-exec. */
  socketPair(): [number, number];
  /** One message of one byte with 0 to 16 descriptors; EINVAL for more. */
  sendDescriptors(socket: number, descriptors: number[]): void;
  /** One message. Blocks up to timeoutMs, then ETIMEDOUT; ECONNRESET when the other end is closed; EMSGSIZE, and
   *  nothing received, for more than 16 descriptors or than this process may open. All are close-on-exec. */
  receiveDescriptors(socket: number, timeoutMs: number): number[];
  /** Commands whose argument is a number. */
  fcntl(fd: number, command: number, argument: number): number;
  /** lseek(2): bytes from the start. */
  seek(fd: number, offset: bigint, whence: number): bigint;
  /** poll(2) of one descriptor with no waiting; revents. */
  pollNow(fd: number, events: number): number;
  /** The whole content of a pipe, left in it (tee(2)), from its read end. Where packets of an O_DIRECT pipe begin is
   *  not told. EPERM for a pipe larger than fs.pipe-max-size without CAP_SYS_RESOURCE. */
  peekPipe(fd: number): Buffer;
  /** The same open file description under a free number above 2, close-on-exec. */
  duplicate(fd: number): number;

  // process.cc
  /** Starts a program as a child with an empty environment, default signal actions, an empty signal mask, all CPUs,
   *  SCHED_OTHER, nice 0 and no I/O priority; returns its pid in our pid namespace. The rest (directories, umask,
   *  limits, credentials, oom score, timer slack) is inherited. Failures of the child name its call; EEXIST from
   *  clone3 means that an id is taken. */
  spawn(options: SpawnOptions): number;
  /** Calls back once when the process ends (pidfd in the event loop); the child is reaped if it is ours. Keeps the
   *  event loop alive until then, or until the returned function is called, which ends the watch. */
  onChildExit(pid: number, callback: (status: ChildStatus) => void): () => void;
  /** Collects an ended child (waitid with __WALL); null while it lives. Stops of a tracee are left for waitTracee.
   *  Throws ECHILD where there is no such child. */
  reap(pid: number): ChildStatus | null;
  /** kill(2): signal 0 only asks. */
  kill(pid: number, signal: number): void;
  /** prlimit(2): soft and hard; RLIM_INFINITY is 2n ** 64n - 1n. */
  getLimit(pid: number, resource: number): [bigint, bigint];
  setLimit(pid: number, resource: number, soft: bigint, hard: bigint): void;
  getScheduling(tid: number): SchedulingAttributes;
  setScheduling(tid: number, attributes: SchedulingAttributes): void;
  /** The mask of CPUs, a bit each, little-endian, as long as the kernel gives it. */
  getAffinity(tid: number): Uint8Array;
  setAffinity(tid: number, mask: Uint8Array): void;
  /** The same for the addon's own threads, those that scan pages, also the ones yet to be made. */
  setPoolAffinity(mask: Uint8Array): void;
  /** ioprio_get(2): class << 13 | level. */
  getIoPriority(tid: number): number;
  setIoPriority(tid: number, priority: number): void;
  getRobustList(tid: number): { head: bigint; bytes: bigint };
  /** prctl(2) of the calling (main) thread. */
  prctl(option: number, a: number, b: number, c: number, d: number): number;
  /** Nanoseconds of a CPU's scheduler clock. The se.exec_start of a sleeping task (/proc/PID/task/TID/sched, in
   *  milliseconds) is in the clock of the CPU it last ran on and tells when it fell asleep; time stolen from the CPU
   *  or spent in interrupts is not in it. Read it before the task is stopped: a ptrace stop wakes it. The calling
   *  thread visits that CPU (EINVAL if it may not). ENOENT on kernels without /proc/PID/sched. */
  schedulerClock(cpu: number): bigint;

  // proc_files.cc
  /** Reads many small files in one call; a file that cannot be read is a negative errno. */
  readFiles(paths: string[]): (Buffer | number)[];
  /** All descriptors, sorted; those that are closed meanwhile are left out. Of a process that runs, the parts of an
   *  entry may belong to different moments. ENOENT when there is no such process. */
  listDescriptors(pid: number): DescriptorEntry[];

  // host.cc
  /** CPUID as user space sees it: eax, ebx, ecx, edx; zeros for a leaf the CPU does not have. */
  cpuid(leaf: number, subleaf: number): Uint32Array;
  /** XCR0: the state components the kernel lets user space use; 0 without XSAVE. */
  enabledStates(): bigint;
  /** clock_gettime(2) in nanoseconds: CLOCK_REALTIME 0, CLOCK_MONOTONIC 1, CLOCK_BOOTTIME 7. */
  clockNow(clock: number): bigint;
  /** The time-stamp counter and CLOCK_MONOTONIC_RAW (nanoseconds) at one moment. */
  timeStampCounter(): [counter: bigint, rawNs: bigint];

  // vdso.cc
  /** Pages of this very process that nobody else can read ([vvar]); null for those that the kernel leaves out. */
  readOwnPages(address: bigint, pages: number): (Buffer | null)[];
  /** Single-steps a stopped task of ours (never one of a source) until it is outside of the ranges; what it reads of the
   *  time stamp counter meanwhile is `timeStamp`. SIGTRAP must not be blocked in it. Returns the number of steps.
   *  Throws EFAULT where it raises a signal, ELOOP after `most` steps. */
  stepOut(tid: number, ranges: Ranges, timeStamp: bigint, most: number): number;
}

/** The tiny static program a migrated process begins as. */
export const skeletonProgram = fileURLToPath(new URL('../../native/build/Release/skeleton', import.meta.url));

const addon = createRequire(import.meta.url)('../../native/build/Release/godwit.node') as Addon & {
  setErrorClass(errorClass: typeof KernelError): void;
};
// The addon constructs this class wherever a system call fails.
addon.setErrorClass(KernelError);

export const native: Addon = addon;
