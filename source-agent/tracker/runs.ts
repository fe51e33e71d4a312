/** Ranges of pages as the sender takes them: [start, end, RunFlag] triples. */
import { RunFlag } from '../../native/index.js';
import type { TrackedMapping } from '../layout.js';

export function joined(a: BigUint64Array, b: BigUint64Array): BigUint64Array {
  if (b.length === 0) return a;
  const both = new BigUint64Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** Scan results as runs for the sender: in address order within each kind of memory. */
export function runsOf(anonymous: BigUint64Array, file: BigUint64Array): BigUint64Array {
  const runs = new BigUint64Array(anonymous.length + file.length);
  for (let i = 0; i < anonymous.length; i += 3) {
    runs[i] = anonymous[i]!;
    runs[i + 1] = anonymous[i + 1]!;
    runs[i + 2] = RunFlag.anonymous;
  }
  for (let i = 0; i < file.length; i += 3) {
    runs[anonymous.length + i] = file[i]!;
    runs[anonymous.length + i + 1] = file[i + 1]!;
  }
  return runs;
}

/** Mappings as spans whose flags the runs found in them inherit. */
export function spansOf(mappings: readonly TrackedMapping[]): BigUint64Array {
  return BigUint64Array.from(
    mappings.flatMap(({ start, end, anonymous }) => [start, end, anonymous ? RunFlag.anonymous : 0n]),
  );
}
