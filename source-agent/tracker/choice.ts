/**
 * Which tracker a migration uses: pure policy over what the probes found. The order, and why:
 *
 * 1. userfault: exact, tells without stopping the program, disturbs nobody else, and ends with the agent.
 * 2. soft-dirty: the program stops for each round (12 ms for 1 GB), whoever else uses the bits of this process loses
 *    them, and a heap that grows counts as written whole (the kernel marks the mapping).
 * 3. none: one freeze carries everything.
 */
import { MigrationError } from '../../shared/errors.js';
import { type TrackerName, trackerNames } from './index.js';

export interface Choice {
  tracker: TrackerName;
  /** Rest of a sentence. */
  why: string;
}

/**
 * The best that is left. `probe` says what is missing for a tracker, or null; `failed` what went wrong with those tried
 * on the program. Throws MigrationError 'tracker-unavailable' where one was asked for that cannot be had.
 */
export function chooseTracker(
  wanted: TrackerName | 'auto',
  probe: (name: TrackerName) => string | null,
  failed: ReadonlyMap<TrackerName, string> = new Map(),
): Choice {
  const missing: string[] = [];
  for (const tracker of wanted === 'auto' ? trackerNames : [wanted]) {
    const lacks = failed.get(tracker) ?? probe(tracker);
    if (lacks !== null) missing.push(`${tracker} ${lacks}`);
    else if (wanted !== 'auto') return { tracker, why: 'as --tracker says' };
    else
      return {
        tracker,
        why: missing.length === 0 ? 'the best there is, and it works here' : missing.join('; '),
      };
  }
  throw new MigrationError('tracker-unavailable', `tracker ${missing.join('; ')}`);
}
