/** Finding the pages that were written since the last look, whatever the kernel offers for it. */
import type { Ranges } from '../../native/index.js';
import type { AddressRange } from '../../shared/ranges.js';
import type { TrackedMapping } from '../layout.js';

export interface Collected {
  /** Pages to send, as [start, end, RunFlag] triples. */
  runs: BigUint64Array;
  /** Where mappings are not the ones that were watched: once watched again, all that is in them counts as written. */
  replaced: AddressRange[];
}

export interface FinalCollected extends Collected {
  /** Pages that were sent and are gone: dropped, or the file's again. */
  dropped: Ranges;
  /** All anonymous pages without content, present or in swap, where the tracker knows them. */
  holes?: Ranges;
}

/** Known on the command line and in the report. */
export const trackerNames = ['userfault', 'soft-dirty', 'none'] as const;
export type TrackerName = (typeof trackerNames)[number];

export interface Tracker {
  readonly name: TrackerName;
  /** Takes these mappings under watch, from now on; those already watched are left alone. Runs while the program runs. */
  watch(mappings: readonly TrackedMapping[]): void;
  /**
   * What was written since the last time (at first: everything), watched again from this moment. `stopped`: the caller
   * has stopped the program, and keeps it so until the answer is there.
   */
  collect(stopped: boolean): Promise<Collected>;
  /** The same for a stopped program, once, with what is gone. */
  collectFinal(): Promise<FinalCollected>;
  /** What was sent of these ranges is gone on the target: if anything is there, all of it is due again. */
  forget(ranges: readonly AddressRange[]): void;
  /** Ends the tracking. May take long for large memory: do it when the freeze is over. */
  close(): void;
}
