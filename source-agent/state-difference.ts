/** Kinds whose state is not what was last sent: only those travel again. */
import { isDeepStrictEqual } from 'node:util';
import { type Kind, kindsInOrder } from '../shared/kinds.js';
import type { PartialState, State } from '../shared/state/index.js';

export function difference(before: State, now: State): PartialState {
  const changed: Partial<Record<Kind, unknown>> = {};
  for (const kind of kindsInOrder()) {
    if (!isDeepStrictEqual(before[kind], now[kind])) changed[kind] = now[kind];
  }
  return changed as PartialState;
}
