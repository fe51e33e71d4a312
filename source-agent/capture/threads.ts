import { readFileSync } from 'node:fs';
import { argumentBase, native } from '../../native/index.js';
import { type Blocker, isKernelError, MigrationError } from '../../shared/errors.js';
import { CallBatch } from '../../shared/injection/batch.js';
import { inRestartBlock } from '../../shared/injection/restart.js';
import { leaveCriticalSection } from '../../shared/injection/rseq.js';
import { get, toBytes, userCodeSegment, withRegisters } from '../../shared/injection/x86-64/registers.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Thread } from '../../shared/state/threads.js';
import type { FrozenProcess, FrozenThread } from '../frozen-process.js';
import type { ThreadView } from '../source-process.js';
import type { Capture } from './kind.js';

const prctl = {
  getParentDeathSignal: 2,
  getTsc: 25,
  getMceKill: 34,
  getTidAddress: 40,
  getIoFlusher: 58,
} as const;
const kcmp = { vm: 1, files: 2, fs: 3 } as const;
const onStack = 1; // SS_ONSTACK: follows from the stack pointer, is not set

/** Where the calls of one thread leave their answers. */
const answer = { tidAddress: 0, alternateStack: 16, deathSignal: 48, timeStamps: 56, bytes: 64 } as const;

/** Settings that are not carried: the value that everybody has, and what they are called. */
const uncarried = {
  timeStamps: { usual: 1, name: 'a trapping time-stamp counter (PR_SET_TSC)' },
  memoryFailure: { usual: 2, name: 'a memory-failure policy (PR_MCE_KILL)' },
  ioFlusher: { usual: 0, name: 'the I/O flusher mark (PR_SET_IO_FLUSHER)' },
} as const;

export const captureThreads: Capture<'threads'> = {
  detect({ process: { pid }, view }) {
    const blockers: Blocker[] = [];
    for (const { tid, status, stat } of view.threads) {
      if (tid !== pid && 'ZX'.includes(stat.state)) continue; // a thread that is just ending
      if (status.threadFeatures.includes('shstk')) {
        const what = `thread ${tid} runs with a user shadow stack`;
        blockers.push({ code: 'shadow-stack', what, pid, tid, object: 'shadow stack' });
      }
      if (tid === pid) continue;
      for (const [name, type] of [
        ['descriptors', kcmp.files],
        ['directories', kcmp.fs],
      ] as const) {
        if (sharesWithLeader(pid, tid, type)) continue;
        const what = `thread ${tid} has its own ${name}`;
        blockers.push({ code: 'thread-differs', what, pid, tid, object: name });
      }
    }
    return blockers;
  },

  capture({ frozen, view }, questions) {
    const { pid } = frozen.process;
    const views = new Map(view.threads.map((thread) => [thread.tid, thread]));
    const threads = [...frozen.threads].sort(
      (a, b) => Number(b.tid === pid) - Number(a.tid === pid) || a.tid - b.tid,
    );
    const room = questions.room(answer.bytes);
    const calls = addQuestions(questions.batch, room);
    return () => {
      return threads.map((thread) => {
        const own =
          thread.tid === frozen.carrier.tid
            ? ownOf(questions.batch, calls, questions.answer(room, answer.bytes))
            : askAlone(frozen, thread);
        refuseSettings(own, pid, thread.tid);
        return threadState(frozen, thread, views.get(thread.tid)!, own);
      });
    };
  },
};

function threadState(frozen: FrozenProcess, thread: FrozenThread, { status }: ThreadView, own: Own): Thread {
  const { tid, image } = thread;
  const { pid } = frozen.process;
  if (get(thread.registers, 'cs') !== userCodeSegment) {
    throw new MigrationError('process-32-bit', `thread ${tid} runs 32-bit code`, { pid, tid });
  }
  const affinity = native.getAffinity(tid);
  const registers = leaveCriticalSection(thread.registers, image.rseq, (address, bytes) =>
    frozen.read(address, bytes),
  );
  return {
    tid: status.nsPid.at(-1)!,
    name: status.name,
    registers: toBytes(namedAgain(registers, thread)),
    extendedState: image.extendedState,
    signalMask: image.signalMask,
    alternateStack: own.alternateStack,
    robustList: native.getRobustList(tid),
    clearChildTid: own.clearChildTid,
    rseq: image.rseq,
    scheduling: native.getScheduling(tid),
    affinity: Buffer.compare(affinity, allCpus()) === 0 ? null : affinity,
    ioPriority: native.getIoPriority(tid),
    timerSlackNs: BigInt(readText(`/proc/${tid}/timerslack_ns`)),
    // Any other wait has its time in the registers or in memory.
    wait: thread.wait && inRestartBlock(registers) ? { remainingNs: thread.wait.remainingNs } : null,
    pending: image.pending,
  };
}

// A wait that was restarted once shows restart_syscall; the target needs the call itself.
function namedAgain(registers: BigUint64Array, { call }: FrozenThread): BigUint64Array {
  if (call === null || !inRestartBlock(registers)) return registers;
  return withRegisters(registers, { originalRax: BigInt(call) });
}

function sharesWithLeader(pid: number, tid: number, type: number): boolean {
  try {
    return native.kcmp(pid, tid, type, 0, 0) === 0;
  } catch (error) {
    if (isKernelError(error, 'ESRCH')) return true; // it has ended since it was looked at
    throw error;
  }
}

/** What only the thread itself can say. */
interface Own {
  clearChildTid: bigint;
  alternateStack: Thread['alternateStack'];
  deathSignal: number;
  /** Values of `uncarried`; null where the kernel does not have the setting. */
  settings: Record<keyof typeof uncarried, number | null>;
}

/** Adds a thread's questions; their answers come to `room`. Returns the indices of those that answer by themselves. */
function addQuestions(batch: CallBatch, room: bigint) {
  const at = (offset: number) => room + BigInt(offset);
  const ask = (name: string, option: number, argument: number | bigint) =>
    batch.add(name, syscalls.prctl, option, argument, 0, 0, 0);
  return {
    told: [
      ask('prctl(PR_GET_TID_ADDRESS)', prctl.getTidAddress, at(answer.tidAddress)),
      batch.add('sigaltstack', syscalls.sigaltstack, 0, at(answer.alternateStack)),
      ask('prctl(PR_GET_PDEATHSIG)', prctl.getParentDeathSignal, at(answer.deathSignal)),
    ],
    timeStamps: ask('prctl(PR_GET_TSC)', prctl.getTsc, at(answer.timeStamps)),
    memoryFailure: ask('prctl(PR_MCE_KILL_GET)', prctl.getMceKill, 0),
    ioFlusher: ask('prctl(PR_GET_IO_FLUSHER)', prctl.getIoFlusher, 0),
  };
}

/** Throws KernelError for a question that every kernel answers. */
function ownOf(batch: CallBatch, calls: ReturnType<typeof addQuestions>, bytes: Buffer): Own {
  for (const call of calls.told) batch.result(call);
  const known = (call: number, value: number) => (batch.raw(call) < 0n ? null : value);
  return {
    clearChildTid: bytes.readBigUInt64LE(answer.tidAddress),
    alternateStack: {
      address: bytes.readBigUInt64LE(answer.alternateStack),
      flags: (bytes.readUInt32LE(answer.alternateStack + 8) & ~onStack) >>> 0,
      bytes: bytes.readBigUInt64LE(answer.alternateStack + 16),
    },
    deathSignal: bytes.readInt32LE(answer.deathSignal),
    settings: {
      timeStamps: known(calls.timeStamps, bytes.readInt32LE(answer.timeStamps)),
      memoryFailure: known(calls.memoryFailure, Number(batch.raw(calls.memoryFailure))),
      ioFlusher: known(calls.ioFlusher, Number(batch.raw(calls.ioFlusher))),
    },
  };
}

/** A thread that does not carry the stub is asked by itself. */
function askAlone(frozen: FrozenProcess, thread: FrozenThread): Own {
  const batch = new CallBatch();
  const calls = addQuestions(batch, argumentBase);
  return ownOf(batch, calls, Buffer.from(frozen.runIn(thread, batch, new Uint8Array(answer.bytes))));
}

function refuseSettings({ deathSignal, settings }: Own, pid: number, tid: number): void {
  if (deathSignal !== 0) {
    const what = `thread ${tid} wants signal ${deathSignal} when its parent dies`;
    throw new MigrationError('parent-death-signal', what, { pid, tid });
  }
  const blockers = Object.entries(uncarried).flatMap(([setting, { usual, name }]): Blocker[] => {
    const value = settings[setting as keyof typeof uncarried];
    if (value === null || value === usual) return [];
    return [{ code: 'unreadable-state', what: `thread ${tid} has ${name}`, pid, tid, object: name }];
  });
  if (blockers.length > 0) throw MigrationError.refused(blockers);
}

let everywhere: Uint8Array | undefined;

/** The mask of a task that may run anywhere, in the form of sched_getaffinity(2). Possible CPUs never change. */
function allCpus(): Uint8Array {
  if (everywhere) return everywhere;
  const mask = new Uint8Array(native.getAffinity(process.pid).length);
  for (const part of readText('/sys/devices/system/cpu/possible').trim().split(',')) {
    const [first, last = first] = part.split('-').map(Number) as [number, number?];
    for (let cpu = first; cpu <= last!; cpu += 1) mask[cpu >> 3]! |= 1 << (cpu & 7);
  }
  everywhere = mask;
  return mask;
}

function readText(path: string): string {
  return readFileSync(path, 'utf8');
}
