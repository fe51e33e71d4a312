import { MigrationError } from '../../shared/errors.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Capture } from './kind.js';

const prctl = { getDumpable: 3, getChildSubreaper: 37, getThpDisable: 42, getMdwe: 66 } as const;

export const captureProcess: Capture<'process'> = {
  capture({ frozen, view }, questions) {
    const { pid } = frozen.process;
    const ask = (name: string, option: number, argument: number | bigint = 0) =>
      questions.add(name, syscalls.prctl, option, argument, 0, 0, 0);
    const dumpable = ask('prctl(PR_GET_DUMPABLE)', prctl.getDumpable);
    const hugePages = ask('prctl(PR_GET_THP_DISABLE)', prctl.getThpDisable);
    const mdwe = ask('prctl(PR_GET_MDWE)', prctl.getMdwe);
    const room = questions.room(4);
    const subreaper = ask('prctl(PR_GET_CHILD_SUBREAPER)', prctl.getChildSubreaper, room);
    return () => {
      // A negative answer comes from a kernel without this setting.
      if (questions.batch.raw(mdwe) > 0n) {
        const object = 'memory-deny-write-execute (PR_SET_MDWE)';
        throw MigrationError.refused([
          { code: 'unreadable-state', what: `the process has ${object}`, pid, object },
        ]);
      }
      questions.batch.result(subreaper);
      const { status } = view.leader;
      const inner = status.nsPid.at(-1)!;
      const [personality, oomScore, coreDumpFilter] = frozen.process
        .readAll('personality', 'oom_score_adj', 'coredump_filter')
        .map((text, i) => required(text, ['personality', 'oom_score_adj', 'coredump_filter'][i]!, pid));
      return {
        pid: inner,
        leadsSession: status.nsSid.at(-1) === inner,
        leadsGroup: status.nsPgid.at(-1) === inner,
        personality: Number.parseInt(personality!, 16) >>> 0,
        dumpable: Number(questions.batch.result(dumpable)) as 0 | 1 | 2,
        childSubreaper: questions.answer(room, 4).readInt32LE() !== 0,
        hugePagesDisabled: questions.batch.result(hugePages) !== 0n,
        oomScoreAdjustment: Number(oomScore),
        coreDumpFilter: BigInt(`0x${coreDumpFilter!.trim()}`),
      };
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
