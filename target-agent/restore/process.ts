import { writeFileSync } from 'node:fs';
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Restore } from './kind.js';

const prctl = { setChildSubreaper: 36, setThpDisable: 41 } as const;

export const restoreProcess: Restore = {
  settle({ skeleton, state: { process }, notes }) {
    const batch = new CallBatch();
    batch.add('setsid', syscalls.setsid);
    batch.add('personality', syscalls.personality, process.personality);
    batch.add(
      'prctl(PR_SET_CHILD_SUBREAPER)',
      syscalls.prctl,
      prctl.setChildSubreaper,
      process.childSubreaper ? 1 : 0,
    );
    batch.add(
      'prctl(PR_SET_THP_DISABLE)',
      syscalls.prctl,
      prctl.setThpDisable,
      process.hugePagesDisabled ? 1 : 0,
      0,
      0,
      0,
    );
    skeleton.run(batch);
    batch.check();
    if (!process.leadsSession) {
      notes.push(
        process.leadsGroup
          ? 'it led a process group of another session; it leads a session of its own now'
          : 'it belonged to another session and process group; it leads a session of its own now',
      );
    }
    writeFileSync(`/proc/${skeleton.pid}/coredump_filter`, `0x${process.coreDumpFilter.toString(16)}`);
    setOomScore(skeleton.pid, process.oomScoreAdjustment, notes);
  },
};

// Going below one's own score takes CAP_SYS_RESOURCE, which not every root has.
function setOomScore(pid: number, score: number, notes: string[]): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(score));
  } catch {
    notes.push(`its oom_score_adj of ${score} could not be set without CAP_SYS_RESOURCE`);
  }
}
