/**
 * Preflight of a program that runs: it opens, maps and starts things between one read of ours and the next, so what a
 * single look takes for a reason against it may never have been one (a file that was closed before its name was looked
 * up, a program that has just begun and has yet to map its C library). What stands in the way is there in every look.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Blocker } from '../shared/errors.js';
import { detectBlockers } from './blockers.js';
import { type Inspection, inspect } from './inspection.js';
import { PipeCensus } from './pipe-census.js';
import type { SourceProcess } from './source-process.js';

/** Pauses between two looks, in milliseconds. */
const defaultPausesMs = [10, 50, 150];

export interface Look {
  inspection: Inspection;
  pipes: PipeCensus;
  blockers: Blocker[];
}

/** The last look, with what it shares with all before it. Throws what the last look throws; 'process-exec'. */
export function lookSteadily(process: SourceProcess): Promise<Look> {
  return steadily(
    () => {
      const pipes = new PipeCensus(process.pid);
      const inspection = inspect(process);
      return { inspection, pipes, blockers: detectBlockers(inspection, pipes) };
    },
    () => process.assertSameProgram(),
  );
}

/**
 * Looks again until nothing is left of what the looks before had found in common. `assertSame` throws where another
 * look would be at something else.
 */
export async function steadily<T extends { blockers: Blocker[] }>(
  look: () => T,
  assertSame: () => void,
  pausesMs: readonly number[] = defaultPausesMs,
): Promise<T> {
  let common: Map<string, Blocker> | undefined;
  for (let n = 0; ; n += 1) {
    const last = n === pausesMs.length;
    try {
      const seen = look();
      const now = new Map(seen.blockers.map((blocker) => [identityOf(blocker), blocker]));
      common = inBoth(common ?? now, now);
      if (common.size === 0 || last) return { ...seen, blockers: [...common.values()] };
    } catch (error) {
      if (last) throw error;
    }
    await sleep(pausesMs[n]);
    assertSame();
  }
}

function inBoth<V>(before: ReadonlyMap<string, unknown>, now: ReadonlyMap<string, V>): Map<string, V> {
  return new Map([...now].filter(([identity]) => before.has(identity)));
}

function identityOf({ code, tid, object, what }: Blocker): string {
  return JSON.stringify([code, tid, object ?? what]);
}
