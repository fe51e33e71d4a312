/** How far down the stack of a thread may be used: what lies below its mapping belongs to somebody else. */
import type { Mapping } from '../shared/proc/mappings.js';

/** Below the stack pointer a function without calls of its own keeps data: the x86-64 psABI's red zone. */
const redZone = 128n;
const everything = (1n << 64n) - 1n;

/**
 * The lowest address that may be written for a thread with this stack pointer. The main thread's stack grows on
 * demand, down to the next mapping; all others end with the mapping they lie in. `mappings` are sorted.
 */
export function stackFloor(mappings: readonly Mapping[], stackPointer: bigint): bigint {
  const at = stackPointer - redZone - 1n;
  const index = mappings.findIndex(({ end }) => at < end);
  const holder = mappings[index];
  if (!holder) return everything;
  if (holder.path === '[stack]') return mappings[index - 1]?.end ?? 0n;
  return at >= holder.start ? holder.start : everything;
}
