/**
 * How one layout differs from the next as runs of mappings taken out and put in: what travels and what is worked on, so
 * that one new mapping among tens of thousands costs what one mapping costs. Pure.
 */
import * as v from 'valibot';
import { MigrationError } from './errors.js';
import { changeOf, type LayoutChange } from './layout.js';
import { Mapping, maxMappings } from './state/memory.js';
import { count, list } from './state/values.js';

export const Splice = v.strictObject({
  /** Index in the list before any of the splices was made. */
  at: count,
  remove: count,
  insert: list(Mapping, maxMappings),
});
export type Splice = v.InferOutput<typeof Splice>;

/** In order; nothing where the lists are equal. Both are sorted by address. */
export function splicesOf(before: readonly Mapping[], next: readonly Mapping[]): Splice[] {
  const splices: Splice[] = [];
  let open: Splice | undefined;
  let [i, j] = [0, 0];
  while (i < before.length || j < next.length) {
    const [a, b] = [before[i], next[j]];
    if (a && b && isSame(a, b)) {
      open = undefined;
      i += 1;
      j += 1;
      continue;
    }
    if (!open) {
      open = { at: i, remove: 0, insert: [] };
      splices.push(open);
    }
    const takes = a !== undefined && (!b || a.start <= b.start);
    const puts = b !== undefined && (!a || b.start <= a.start);
    if (takes) {
      open.remove += 1;
      i += 1;
    }
    if (puts) {
      open.insert.push(b);
      j += 1;
    }
  }
  return splices;
}

/** The list that results. Throws MigrationError 'protocol-violation' where they do not fit, or mappings would overlap. */
export function splice(before: readonly Mapping[], splices: readonly Splice[]): Mapping[] {
  const next: Mapping[] = [];
  let from = 0;
  const append = (mappings: readonly Mapping[]) => {
    for (const mapping of mappings) next.push(mapping);
  };
  for (const { at, remove, insert } of splices) {
    if (at < from || at + remove > before.length) throw misfit('a change of the layout names no mappings');
    append(before.slice(from, at));
    append(insert);
    from = at + remove;
  }
  append(before.slice(from));
  if (next.length > maxMappings) throw misfit('the layout has too many mappings');
  if (next.some((mapping, i) => i > 0 && next[i - 1]!.end > mapping.start))
    throw misfit('mappings overlap or are out of order');
  return next;
}

/** What has to be done for splices that fit. What they leave alone is not among `kept`. */
export function changeOfSplices(before: readonly Mapping[], splices: readonly Splice[]): LayoutChange {
  const changes = splices.map(({ at, remove, insert }) => changeOf(before.slice(at, at + remove), insert));
  return {
    unmap: changes.flatMap(({ unmap }) => unmap),
    map: changes.flatMap(({ map }) => map),
    adjust: changes.flatMap(({ adjust }) => adjust),
    kept: changes.flatMap(({ kept }) => kept),
  };
}

function isSame(a: Mapping, b: Mapping): boolean {
  return (
    a.start === b.start &&
    a.end === b.end &&
    a.protection === b.protection &&
    a.kind === b.kind &&
    a.name === b.name &&
    a.offset === b.offset &&
    a.growsDown === b.growsDown &&
    a.noReserve === b.noReserve &&
    a.accounted === b.accounted &&
    a.label === b.label &&
    a.sealed === b.sealed &&
    a.advice.length === b.advice.length &&
    a.advice.every((flag, i) => flag === b.advice[i])
  );
}

function misfit(what: string): MigrationError {
  return new MigrationError('protocol-violation', what);
}
