/**
 * From one layout of an address space to the next: which parts stay, what has to be unmapped, mapped, protected. Pure;
 * both sides derive the same from the same lists, so only the lists travel.
 */
import { type AddressRange, subtract } from './ranges.js';
import type { Mapping } from './state/memory.js';

export interface KeptPiece extends AddressRange {
  before: Mapping;
  after: Mapping;
}

export interface LayoutChange {
  unmap: AddressRange[];
  /** Pieces of mappings, offsets adjusted. */
  map: Mapping[];
  /** Kept pieces whose protection or advice is another now. */
  adjust: KeptPiece[];
  kept: KeptPiece[];
}

export function changeOf(before: readonly Mapping[], next: readonly Mapping[]): LayoutChange {
  const kept = keptPieces(before, next);
  return {
    unmap: subtract(before.filter(isMovable), kept),
    map: newPieces(next, kept),
    adjust: kept.filter(
      (piece) =>
        piece.before.protection !== piece.after.protection ||
        piece.before.label !== piece.after.label ||
        piece.before.advice.join() !== piece.after.advice.join(),
    ),
    kept,
  };
}

function keptPieces(before: readonly Mapping[], next: readonly Mapping[]): KeptPiece[] {
  const kept: KeptPiece[] = [];
  let first = 0;
  for (const after of next) {
    while (first < before.length && before[first]!.end <= after.start) first += 1;
    for (let i = first; i < before.length && before[i]!.start < after.end; i += 1) {
      const old = before[i]!;
      if (!isMovable(after) || !isSameObject(old, after)) continue;
      const start = old.start > after.start ? old.start : after.start;
      const end = old.end < after.end ? old.end : after.end;
      kept.push({ start, end, before: old, after });
    }
  }
  return kept;
}

/** What of `next` is not kept. Both lists are walked once: programs have tens of thousands of mappings. */
function newPieces(next: readonly Mapping[], kept: readonly KeptPiece[]): Mapping[] {
  const pieces: Mapping[] = [];
  let at = 0;
  for (const mapping of next) {
    const first = at;
    while (at < kept.length && kept[at]!.after === mapping) at += 1;
    if (!isMovable(mapping)) continue;
    for (const piece of subtract([mapping], kept.slice(first, at))) pieces.push(pieceOf(mapping, piece));
  }
  return pieces;
}

/** Special mappings (vdso, vvar) are placed once and never again. */
function isMovable({ kind }: Mapping): boolean {
  return kind !== 'special';
}

/** Mappings of a file, private or shared. */
export function isOfFile({ kind }: Mapping): boolean {
  return kind === 'file' || kind === 'shared';
}

/** Memory whose pages may travel: what the program alone can change. */
export function isPrivate({ kind }: Mapping): boolean {
  return kind === 'anonymous' || kind === 'file';
}

function isSameObject(a: Mapping, b: Mapping): boolean {
  return (
    a.kind === b.kind &&
    a.name === b.name &&
    a.growsDown === b.growsDown &&
    a.noReserve === b.noReserve &&
    (!isOfFile(a) || a.offset - a.start === b.offset - b.start)
  );
}

function pieceOf(mapping: Mapping, piece: AddressRange): Mapping {
  const offset = isOfFile(mapping) ? mapping.offset + (piece.start - mapping.start) : 0n;
  return { ...mapping, ...piece, offset };
}
