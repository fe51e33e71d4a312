/**
 * What can go wrong, in two classes.
 *
 * KernelError: a system call failed (raised by the addon, one class for every errno).
 * MigrationError: what a person is told: a stable code from the catalogue below, the task and the object it is
 * about, and what to do. docs/errors.md documents each code; a test compares the two.
 */

export class KernelError extends Error {
  override readonly name = 'KernelError';
  constructor(
    message: string,
    /** Symbolic errno, for example EPERM. */
    readonly code: string,
    /** Positive errno. */
    readonly errno: number,
    /** The call, for example ptrace(PTRACE_SEIZE). */
    readonly syscall: string,
    /** The process or thread it was about. */
    readonly pid?: number,
  ) {
    super(message);
  }
}

/** True when `error` is a KernelError with one of these symbolic codes. */
export function isKernelError(error: unknown, ...codes: string[]): error is KernelError {
  return error instanceof KernelError && (codes.length === 0 || codes.includes(error.code));
}

/** Exit codes of the command line, by what a script would do next. */
export const ExitCode = {
  success: 0,
  /** Something broke that is not the user's doing; the source runs on. */
  failed: 1,
  usage: 2,
  /** Refused before anything was touched: blockers or mismatches. */
  refused: 3,
  /** The other side could not be reached or did not authenticate. */
  unreachable: 4,
  /** Stopped by the user or by policy during the rounds; the source runs on. */
  aborted: 5,
  /** The decision was sent and no answer came: the source is held; see `migrate status`. */
  inDoubt: 6,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export interface CatalogueEntry {
  exit: ExitCode;
  /** What a person can do about it. */
  advice: string;
  /** Of a difference of the hosts: what would become of the program there. */
  breaks?: string;
  /** A person may accept it with --force: nobody but the program itself would suffer. */
  force?: true;
}

/** Every code a person can meet. Codes are stable; wording may improve. */
export const catalogue = {
  // the command line and the files it names
  usage: { exit: ExitCode.usage, advice: 'See `migrate --help`.' },
  'secret-missing': {
    exit: ExitCode.usage,
    advice:
      'Make one with `migrate secret > FILE`, copy it to both hosts, and name it with --secret-file FILE or MIGRATE_SECRET_FILE.',
  },
  'secret-unusable': {
    exit: ExitCode.usage,
    advice:
      'The file must hold one line from `migrate secret` and be readable by its owner only (chmod 600).',
  },

  // what is wrong with the process
  'no-such-process': { exit: ExitCode.refused, advice: 'Check the pid with `ps`.' },
  'not-permitted': {
    exit: ExitCode.refused,
    advice: 'Run the source agent as root (CAP_SYS_PTRACE and CAP_CHECKPOINT_RESTORE).',
  },
  'kernel-thread': {
    exit: ExitCode.refused,
    advice: 'Kernel threads belong to the kernel of their host; nothing can move them.',
  },
  'agent-itself': {
    exit: ExitCode.refused,
    advice: 'An agent cannot move itself or one of its ancestors; name another process.',
  },
  'process-dead': {
    exit: ExitCode.refused,
    advice: 'The process (or its first thread) has already ended; only its parent can collect it.',
  },
  'process-traced': { exit: ExitCode.refused, advice: 'Detach the debugger or tracer first.' },
  'process-stopped': { exit: ExitCode.refused, advice: 'Continue it first (kill -CONT).' },
  'process-32-bit': { exit: ExitCode.refused, advice: 'Only 64-bit x86 tasks can be moved.' },
  'process-exec': {
    exit: ExitCode.failed,
    advice: 'The process became another program each time; try again when it has settled.',
  },
  'process-ended': {
    exit: ExitCode.failed,
    advice: 'The process ended by itself during the rounds; nothing is left to move.',
  },
  'has-children': {
    exit: ExitCode.refused,
    advice: 'Process trees are not carried yet; move a process without children.',
  },
  'shares-with-others': {
    exit: ExitCode.refused,
    advice: 'The task shares memory, descriptors or directories with tasks that would stay behind.',
  },
  'foreign-namespace': {
    exit: ExitCode.refused,
    advice: 'Run `migrate` inside the same namespaces (nsenter -t PID -a).',
  },
  'seccomp-filter': { exit: ExitCode.refused, advice: 'Seccomp filters are not carried yet.' },
  'shadow-stack': {
    exit: ExitCode.refused,
    advice: 'Start the program without user shadow stacks (GLIBC_TUNABLES).',
  },
  'no-injection-point': {
    exit: ExitCode.refused,
    advice:
      'The program maps no code in which a system call instruction and a signal restorer could be found.',
  },
  'unreadable-state': {
    exit: ExitCode.refused,
    advice: 'This state cannot be read on this kernel, so it cannot be carried.',
  },
  'unknown-state': {
    exit: ExitCode.refused,
    advice: 'The kernel reports something this version does not know; it refuses rather than lose it.',
  },
  'traces-others': {
    exit: ExitCode.refused,
    advice: 'It is the tracer of other tasks; let it detach first.',
  },
  'parent-death-signal': {
    exit: ExitCode.refused,
    advice: 'It asked for a signal when its parent dies (PR_SET_PDEATHSIG); the parent stays behind.',
  },
  timers: { exit: ExitCode.refused, advice: 'POSIX timers are not carried yet.' },
  'thread-differs': {
    exit: ExitCode.refused,
    advice: 'All threads must share their credentials, descriptors and directories.',
  },

  // what is wrong with one of its objects
  'mapping-kind': { exit: ExitCode.refused, advice: 'This kind of mapping is not carried yet.' },
  'mapping-deleted': {
    exit: ExitCode.refused,
    advice: 'The mapped file was deleted or replaced; restart the program or put the file back.',
  },
  'descriptor-kind': {
    exit: ExitCode.refused,
    advice: 'This kind of descriptor is not carried yet; close it first.',
  },
  'descriptor-owner': {
    exit: ExitCode.refused,
    advice: 'Signal-driven I/O (F_SETOWN, F_SETSIG, O_ASYNC, leases) is not carried yet.',
  },
  'file-deleted': {
    exit: ExitCode.refused,
    advice: 'The file has no name any more; close it or link it again.',
  },
  'file-locked': { exit: ExitCode.refused, advice: 'File locks are not carried yet.' },
  'pipe-leads-out': {
    exit: ExitCode.refused,
    advice: 'The other end belongs to a process that stays; for standard streams say where to with --stdio.',
  },
  'stdio-leads-out': {
    exit: ExitCode.refused,
    advice: 'Say where standard streams should lead on the target with --stdio log|null|FILE.',
  },

  // what does not fit the target
  'target-unreachable': {
    exit: ExitCode.unreachable,
    advice: 'Check the address and that `migrate agent --listen` runs there.',
  },
  'authentication-failed': {
    exit: ExitCode.unreachable,
    advice: 'Both sides must hold the same secret file.',
  },
  'protocol-mismatch': {
    exit: ExitCode.unreachable,
    advice: 'Use the same version of godwit on both hosts.',
  },
  'protocol-violation': {
    exit: ExitCode.failed,
    advice: 'The other side sent what it must not send; see its log.',
  },
  'link-lost': {
    exit: ExitCode.failed,
    advice: 'The connection ended before the decision; the source runs on. Try again.',
  },
  'target-failed': {
    exit: ExitCode.failed,
    advice: 'The target could not rebuild the process; see its log. The source runs on.',
  },
  'target-busy': {
    exit: ExitCode.refused,
    advice: 'The target agent already receives as many processes as it may; try later.',
  },
  'architecture-differs': { exit: ExitCode.refused, advice: 'Move between hosts of one architecture.' },
  'kernel-differs': {
    exit: ExitCode.refused,
    advice: "The program's vdso does not fit the target's; use the same kernel there, or a newer one.",
  },
  'cpu-features': {
    exit: ExitCode.refused,
    advice: 'Move to a host whose CPU has them, or hide them from programs on the source.',
    breaks: 'A program that uses one of them ends by SIGILL, at once or in the middle of its work.',
    force: true,
  },
  'extended-state': {
    exit: ExitCode.refused,
    advice: 'Move between CPUs of one vendor.',
    breaks: 'The registers of its vector instructions could not be loaded.',
  },
  'more-cpus': {
    exit: ExitCode.refused,
    advice: 'Boot the target with as many possible CPUs as the source (possible_cpus=).',
    breaks: 'A program that keeps an array with an entry for each CPU (rseq, getcpu) writes beyond its end.',
    force: true,
  },
  'kernel-older': {
    exit: ExitCode.refused,
    advice: 'Boot a kernel on the target that is at least as new.',
    breaks:
      'System calls and rseq fields that the program has found to exist are missing there (ENOSYS, zeros).',
    force: true,
  },
  'tsc-frequency': {
    exit: ExitCode.refused,
    advice: 'Move to a host with the same frequency, or let the hypervisor scale it.',
    breaks: 'A program that reads the time-stamp counter itself (rdtsc) measures wrong times.',
    force: true,
  },
  'wall-clock': {
    exit: ExitCode.refused,
    advice: 'Let both hosts keep their time (chrony, ntpd).',
    breaks: 'The time of day jumps: deadlines, leases and time stamps are wrong by so much.',
    force: true,
  },
  'clock-backwards': {
    exit: ExitCode.refused,
    advice: 'Move to a host that has been up for longer.',
    breaks:
      'A clock that never goes back does: what waits for an absolute time waits longer by the difference, and a program may fail on it.',
    force: true,
  },
  'signal-stack': {
    exit: ExitCode.refused,
    advice: 'Give the thread a larger alternate signal stack (sigaltstack).',
    breaks: 'The first signal on that stack ends the program (SIGSEGV): its frame is larger on the target.',
    force: true,
  },
  'target-limit': {
    exit: ExitCode.refused,
    advice: 'Raise the setting named on the target.',
    breaks: 'The process could not be built.',
  },
  'pid-taken': {
    exit: ExitCode.refused,
    advice: 'Start the target agent in a pid namespace of its own (unshare --pid --fork --mount-proc).',
  },
  'file-missing': { exit: ExitCode.refused, advice: 'Put the same file at the same path on the target.' },
  'file-differs': {
    exit: ExitCode.refused,
    advice: 'The target holds another content at this path; install the same version there.',
    breaks: 'The program goes on reading and writing a file that is not the one it knows.',
    force: true,
  },
  'mapped-file-differs': {
    exit: ExitCode.refused,
    advice: 'Install the same version of the program or library on the target.',
    breaks: 'The program would run code of two versions at once.',
  },
  'file-uncompared': {
    exit: ExitCode.refused,
    advice: 'With --compare-contents files are compared whatever their size; it may take minutes.',
    breaks: 'Should the file differ, the program goes on with one that is not the one it knows.',
    force: true,
  },
  'no-memory': { exit: ExitCode.refused, advice: 'Free memory on the target or move a smaller process.' },
  'no-space': { exit: ExitCode.refused, advice: "Free space in the target agent's state folder." },
  'identity-refused': {
    exit: ExitCode.refused,
    advice: 'The target agent may not give these credentials or limits.',
  },

  // what happened on the way
  'tracker-unavailable': {
    exit: ExitCode.refused,
    advice: 'This kernel does not offer that tracker; leave --tracker out and the best that works is taken.',
  },
  'tracker-taken': {
    exit: ExitCode.refused,
    advice:
      'Another tracker is at work on this process (a migration, a dump, a debugger): end it and try again.',
  },
  'stop-timeout': {
    exit: ExitCode.failed,
    advice: 'A thread did not stop (uninterruptible sleep or a vfork in progress); try again.',
  },
  'no-stack-room': {
    exit: ExitCode.failed,
    advice: 'A thread was deep in its stack at that moment; try again.',
  },
  'downtime-exceeded': {
    exit: ExitCode.aborted,
    advice:
      'The process dirties memory faster than the link carries it; raise --max-downtime or --bandwidth.',
  },
  interrupted: { exit: ExitCode.aborted, advice: 'Stopped on request; the source runs on.' },
  'in-doubt': {
    exit: ExitCode.inDoubt,
    advice:
      'The process is held here until it is known who has it. `migrate status` tells what there is to choose and what it risks; `migrate resume ID` asks the target again.',
  },
  'journal-unusable': {
    exit: ExitCode.refused,
    advice:
      'Name a folder on a disk that only root can write, with --state-dir or GODWIT_STATE, and see that it has space.',
  },
  'no-such-migration': {
    exit: ExitCode.usage,
    advice: 'See the ids with `migrate status`; records of what is over are removed after a while.',
  },
  'migration-busy': {
    exit: ExitCode.refused,
    advice: 'An agent still works on it: wait for that, or end the agent, and try again.',
  },
  internal: {
    exit: ExitCode.failed,
    advice: 'This is a defect in godwit; please report it with the message above.',
  },
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof catalogue;

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(catalogue, text);
}

/** Where an error belongs to: any part may be unknown. */
export interface Subject {
  /** The step of the walk, for example preflight or freeze. */
  phase?: string;
  pid?: number;
  tid?: number;
  /** The object, as a person would name it: a path, "descriptor 5", "mapping 7f00-7f10". */
  object?: string;
}

/** One reason why a migration cannot be done, as preflight lists it. */
export interface Blocker extends Subject {
  code: ErrorCode;
  /** What is the matter, one sentence without the advice. */
  what: string;
}

export class MigrationError extends Error {
  override readonly name = 'MigrationError';
  readonly exit: ExitCode;
  readonly advice: string;
  constructor(
    readonly code: ErrorCode,
    what: string,
    readonly subject: Subject = {},
    options: { cause?: unknown; blockers?: readonly Blocker[] } = {},
  ) {
    super(what, options.cause === undefined ? undefined : { cause: options.cause });
    this.exit = catalogue[code].exit;
    this.advice = catalogue[code].advice;
    this.blockers = options.blockers ?? [];
  }
  /** All reasons at once, where there are several. */
  readonly blockers: readonly Blocker[];

  static refused(blockers: readonly Blocker[]): MigrationError {
    const first = blockers[0]!;
    const what = blockers.length === 1 ? first.what : `${blockers.length} things stand in the way`;
    return new MigrationError(first.code, what, first, { blockers });
  }
}

/** Any thrown thing as a MigrationError: kernel errors keep their text as the cause. */
export function asMigrationError(
  error: unknown,
  code: ErrorCode = 'internal',
  subject: Subject = {},
): MigrationError {
  if (error instanceof MigrationError) return error;
  const what = error instanceof Error ? error.message : String(error);
  return new MigrationError(code, what, subject, { cause: error });
}
