import { native } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';
import { limitNames } from '../../shared/state/limits.js';
import type { Restore } from './kind.js';

/** Limits come last: a small one would stand in the way of the restoring itself. */
export const restoreLimits: Restore = {
  finish({ skeleton, state: { limits }, notes }) {
    limits.forEach(({ soft, hard }, resource) => {
      try {
        native.setLimit(skeleton.pid, resource, soft, hard);
      } catch (error) {
        if (!isKernelError(error, 'EPERM')) throw error;
        notes.push(`its limit ${limitNames[resource]} could not be raised without CAP_SYS_RESOURCE`);
      }
    });
  },
};
