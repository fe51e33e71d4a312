/**
 * `--force`: what a person may accept. Only what nobody but the program itself would suffer from can be forced; what
 * would harm the target host (no memory, a taken id) is for whoever runs that host to settle.
 */
import { type Blocker, catalogue, type ErrorCode, isErrorCode } from './errors.js';

export function isForceable(code: ErrorCode): boolean {
  return 'force' in catalogue[code];
}

export const forceableCodes: readonly ErrorCode[] = Object.keys(catalogue).filter(
  (code) => isErrorCode(code) && isForceable(code),
) as ErrorCode[];

/** Reasons that stand in the way, apart from those that were accepted. */
export function sortOut(blockers: readonly Blocker[], force: readonly ErrorCode[]) {
  const isForced = ({ code }: Blocker) => force.includes(code) && isForceable(code);
  return { blockers: blockers.filter((each) => !isForced(each)), forced: blockers.filter(isForced) };
}

/** What the report says of something that was accepted. */
export function noteOf({ code, what }: Blocker): string {
  return `forced (${code}): ${what}`;
}
