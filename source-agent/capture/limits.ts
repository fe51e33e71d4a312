import type { Capture } from './kind.js';

export const captureLimits: Capture<'limits'> = {
  capture({ frozen }) {
    return () => frozen.process.limits();
  },
};
