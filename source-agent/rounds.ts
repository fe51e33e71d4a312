/**
 * When to stop sending and freeze: pure policy. The predicted downtime is what will be left to send, at the measured
 * bandwidth, plus the measured fixed cost of a freeze.
 */

export interface RoundMeasure {
  /** Bytes of memory that had to be sent. */
  bytes: number;
  /** From the collection to the last page landed. */
  durationMs: number;
  /** Time over which those bytes were dirtied; null for the first round, which sends everything. */
  dirtiedOverMs: number | null;
}

export interface RoundLimits {
  maxDowntimeMs: number;
  maxRounds: number;
  onStall: 'force' | 'cancel';
}

export type Decision =
  | { next: 'round'; waitMs: number }
  /** Go on to the closing rounds and freeze. */
  | { next: 'freeze'; reason: 'predicted' | 'forced' }
  | { next: 'cancel' };

/** Rounds closer together than this slow the program down: each makes its next writes fault. */
export const roundIntervalMs = 300;
/** A round that is not a tenth smaller than the one before makes no progress; after so many of them we are stalled. */
const stallFactor = 0.9;
const stalledRounds = 3;

export function decide(history: readonly RoundMeasure[], fixedMs: number, limits: RoundLimits): Decision {
  const last = history.at(-1)!;
  // The first round tells the bandwidth but nothing about what is dirtied.
  if (history.length > 1 && predictedDowntimeMs(history, fixedMs) <= limits.maxDowntimeMs) {
    return { next: 'freeze', reason: 'predicted' };
  }
  if (history.length >= limits.maxRounds || isStalled(history)) {
    return limits.onStall === 'cancel' ? { next: 'cancel' } : { next: 'freeze', reason: 'forced' };
  }
  return { next: 'round', waitMs: Math.max(0, roundIntervalMs - last.durationMs) };
}

/** Milliseconds the freeze would take if the closing rounds began now. */
export function predictedDowntimeMs(history: readonly RoundMeasure[], fixedMs: number): number {
  const last = history.at(-1)!;
  const bandwidth = bytesPerMs(history);
  if (last.dirtiedOverMs === null) return last.durationMs + fixedMs;
  const dirtyRate = last.bytes / Math.max(last.dirtiedOverMs, 1);
  // A closing round takes about as long as it takes to send what was dirtied during the last one.
  const closingMs = Math.min(last.durationMs, last.bytes / bandwidth + closingOverheadMs);
  const left = Math.min(last.bytes, dirtyRate * closingMs);
  return left / bandwidth + fixedMs;
}

/** Scan, messages and landing of a round with next to nothing in it. */
const closingOverheadMs = 4;

/** Best bandwidth seen: small rounds measure their overhead rather than the link. */
function bytesPerMs(history: readonly RoundMeasure[]): number {
  return Math.max(1, ...history.map(({ bytes, durationMs }) => bytes / Math.max(durationMs, 0.1)));
}

function isStalled(history: readonly RoundMeasure[]): boolean {
  const recent = history.slice(-stalledRounds - 1).filter(({ dirtiedOverMs }) => dirtiedOverMs !== null);
  return (
    recent.length > stalledRounds &&
    recent.slice(1).every(({ bytes }, i) => bytes > recent[i]!.bytes * stallFactor)
  );
}

/** Closing rounds go on while they shrink: until little is left, or by less than a quarter. */
export function closingIsOver(bytes: readonly number[]): boolean {
  const little = 32768;
  const most = 20;
  const [last, before] = [bytes.at(-1), bytes.at(-2)];
  if (last === undefined) return false;
  return last <= little || bytes.length >= most || (before !== undefined && last * 4 > before * 3);
}
