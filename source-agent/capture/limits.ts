import { native } from '../../native/index.js';
import { limitNames } from '../../shared/state/limits.js';
import type { Capture } from './kind.js';

export const captureLimits: Capture<'limits'> = {
  capture({ frozen }) {
    return limitNames.map((_, resource) => {
      const [soft, hard] = native.getLimit(frozen.process.pid, resource);
      return { soft, hard };
    });
  },
};
