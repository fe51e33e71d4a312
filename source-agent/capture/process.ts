import { argumentBase } from '../../native/index.js';
import { type Blocker, MigrationError } from '../../shared/errors.js';
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Capture } from './kind.js';

const prctl = {
  getDumpable: 3,
  getTsc: 25,
  mceKillGet: 34,
  getChildSubreaper: 37,
  getThpDisable: 42,
  getIoFlusher: 58,
  getMdwe: 66,
} as const;

/** Settings that are not carried: the value that everybody has, and what they are called. */
const expected = [
  { option: prctl.getTsc, value: 1, pointer: true, name: 'a trapping time-stamp counter (PR_SET_TSC)' },
  { option: prctl.mceKillGet, value: 2, pointer: false, name: 'a memory-failure policy (PR_MCE_KILL)' },
  { option: prctl.getIoFlusher, value: 0, pointer: false, name: 'the I/O flusher mark (PR_SET_IO_FLUSHER)' },
  { option: prctl.getMdwe, value: 0, pointer: false, name: 'memory-deny-write-execute (PR_SET_MDWE)' },
] as const;

/** Registers that a program asked for (arch_prctl(2), ARCH_GET_XCOMP_PERM): the components that are dynamic. */
const getStatePermission = 0x1022;
const dynamicStates = 1n << 18n;
const permissionAt = 8 * (expected.length + 1);

export const captureProcess: Capture<'process'> = {
  capture({ frozen, view }) {
    const { pid } = frozen.process;
    const leader = frozen.threads.find(({ tid }) => tid === pid)!;
    const batch = new CallBatch();
    // Each answer that comes through a pointer has its own eight bytes.
    const dumpable = batch.add('prctl(PR_GET_DUMPABLE)', syscalls.prctl, prctl.getDumpable);
    const hugePages = batch.add('prctl(PR_GET_THP_DISABLE)', syscalls.prctl, prctl.getThpDisable, 0, 0, 0, 0);
    batch.add('prctl(PR_GET_CHILD_SUBREAPER)', syscalls.prctl, prctl.getChildSubreaper, argumentBase);
    const others = expected.map(({ option, pointer, name }, i) =>
      batch.add(name, syscalls.prctl, option, pointer ? argumentBase + BigInt(8 * (i + 1)) : 0, 0, 0, 0),
    );
    const asked = batch.add(
      'arch_prctl',
      syscalls.archPrctl,
      getStatePermission,
      argumentBase + BigInt(permissionAt),
    );
    const answers = Buffer.from(frozen.runIn(leader, batch, new Uint8Array(64)));

    const blockers: Blocker[] = [];
    expected.forEach(({ value, pointer, name }, i) => {
      const raw = batch.raw(others[i]!);
      if (raw < 0n) return; // a kernel without this setting
      const found = pointer ? answers.readInt32LE(8 * (i + 1)) : Number(raw);
      if (found !== value) {
        blockers.push({ code: 'unreadable-state', what: `the process has ${name}`, pid, object: name });
      }
    });
    // A kernel that does not know the question has no such registers.
    if (batch.raw(asked) >= 0n && answers.readBigUInt64LE(permissionAt) & dynamicStates) {
      const name = 'asked for the registers of advanced matrix extensions (ARCH_REQ_XCOMP_PERM)';
      blockers.push({ code: 'unreadable-state', what: `the process has ${name}`, pid, object: name });
    }
    if (blockers.length > 0) throw MigrationError.refused(blockers);

    const { status } = view.leader;
    const inner = status.nsPid.at(-1)!;
    return {
      pid: inner,
      leadsSession: status.nsSid.at(-1) === inner,
      leadsGroup: status.nsPgid.at(-1) === inner,
      personality:
        Number.parseInt(required(frozen.process.read('personality'), 'personality', pid), 16) >>> 0,
      dumpable: Number(batch.result(dumpable)) as 0 | 1 | 2,
      childSubreaper: answers.readInt32LE(0) !== 0,
      hugePagesDisabled: batch.result(hugePages) !== 0n,
      oomScoreAdjustment: Number(required(frozen.process.read('oom_score_adj'), 'oom_score_adj', pid)),
      coreDumpFilter: BigInt(
        `0x${required(frozen.process.read('coredump_filter'), 'coredump_filter', pid).trim()}`,
      ),
    };
  },
};

function required(text: string | null, file: string, pid: number): string {
  if (text === null) {
    throw new MigrationError('unreadable-state', `/proc/${pid}/${file} cannot be read`, {
      pid,
      object: file,
    });
  }
  return text;
}
