/** Tests that are the same for every tracker: those this kernel does not have are skipped by name. */
import { type TrackerName, trackerNames } from '../../source-agent/tracker/index.js';
import { probeTracker } from '../../source-agent/tracker/probes.js';
import { skip } from './skips.js';

const skipNames = { userfault: 'asynchronous-write-protect', 'soft-dirty': 'soft-dirty' } as const;

/** Whether the tracker works here; announces the skip where it does not. */
export function isAvailable(tracker: TrackerName): boolean {
  const missing = probeTracker(tracker);
  if (missing !== null && tracker !== 'none') skip(skipNames[tracker], `${tracker} ${missing}`);
  return missing === null;
}

export function availableTrackers(): TrackerName[] {
  return trackerNames.filter(isAvailable);
}
