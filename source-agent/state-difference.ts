/** Kinds whose state is not what was last sent: only those travel again. */
import { type Kind, kindsInOrder } from '../shared/kinds.js';
import type { PartialState, State } from '../shared/state/index.js';

export function difference(before: State, now: State): PartialState {
  const changed: Partial<Record<Kind, unknown>> = {};
  for (const kind of kindsInOrder()) {
    if (!isEqual(before[kind], now[kind])) changed[kind] = now[kind];
  }
  return changed as PartialState;
}

/** State is made of plain objects, arrays, bytes and primitive values: util.isDeepStrictEqual takes several times as long. */
export function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (a instanceof Uint8Array) return b instanceof Uint8Array && Buffer.compare(a, b) === 0;
  if (b instanceof Uint8Array || Array.isArray(a) !== Array.isArray(b)) return false;
  const names = Object.keys(a);
  if (names.length !== Object.keys(b).length) return false;
  return names.every(
    (name) =>
      Object.hasOwn(b, name) &&
      isEqual((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name]),
  );
}
