import type { Blocker } from '../../shared/errors.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { namedIds, type Status } from '../../shared/proc/status.js';
import type { Capture } from './kind.js';

const prGetSecurebits = 27;

export const captureCredentials: Capture<'credentials'> = {
  detect({ process: { pid }, view }) {
    const blockers: Blocker[] = [];
    const wanted = identity(view.leader.status);
    for (const { tid, status } of view.threads) {
      if (identity(status) !== wanted) {
        const what = `thread ${tid} has other credentials than the process`;
        blockers.push({ code: 'thread-differs', what, pid, tid, object: 'credentials' });
      }
      if (status.seccomp !== 0) {
        blockers.push({
          code: 'seccomp-filter',
          what: `thread ${tid} runs under seccomp`,
          pid,
          tid,
          object: 'seccomp',
        });
      }
    }
    return blockers;
  },
  capture({ view }, questions) {
    const securebits = questions.add('prctl(PR_GET_SECUREBITS)', syscalls.prctl, prGetSecurebits);
    const { status } = view.leader;
    return () => ({
      uids: namedIds(status.uids),
      gids: namedIds(status.gids),
      groups: status.groups,
      ...status.capabilities,
      securebits: Number(questions.batch.result(securebits)),
      noNewPrivileges: status.noNewPrivs,
    });
  },
};

function identity({ uids, gids, groups, capabilities, noNewPrivs }: Status): string {
  return [uids, gids, groups, Object.values(capabilities), noNewPrivs].join(';');
}
