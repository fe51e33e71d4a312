import type { Restore } from './kind.js';

export const restoreFiles: Restore = {
  settle({ files, state }) {
    files.reconcile(state.files, state.pipes);
  },
  finish({ files, state }, changed) {
    if (changed.has('files') || changed.has('pipes')) files.reconcile(state.files, state.pipes);
  },
};
