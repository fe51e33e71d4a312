import type { Restore } from './kind.js';

/** The pipes themselves come with the descriptors; what is in them is only known at last. */
export const restorePipes: Restore = {
  finish({ files, state }) {
    files.fillPipes(state.pipes);
  },
};
