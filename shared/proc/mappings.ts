/** /proc/PID/maps and /proc/PID/smaps: fs/proc/task_mmu.c, proc_pid_maps(5). */
import type { AddressRange } from '../ranges.js';
import { malformed } from './malformed.js';

/** One line of maps: what mmap(2) was told. */
export interface Mapping extends AddressRange {
  read: boolean;
  write: boolean;
  execute: boolean;
  /** MAP_SHARED (also where the file allows no writing). */
  shared: boolean;
  /** Bytes into the file; 0 without one. */
  offset: bigint;
  /** "major:minor" in hexadecimal, for example "fe:00". */
  device: string;
  inode: bigint;
  /** A file's path (with " (deleted)" behind it once it has no name), a name in brackets, or "". Newlines are real ones. */
  path: string;
  /** VmFlags of smaps, in two-letter codes. */
  flags?: ReadonlySet<string>;
  /** Bytes of pages of its own, present in memory (smaps). */
  anonymousBytes?: number;
  /** Bytes present in memory and in swap, without the page of zeros (smaps). */
  residentBytes?: number;
  swappedBytes?: number;
  /** Bytes of locked pages present, shared ones in proportion (smaps). */
  lockedBytes?: number;
  /** The memory protection key of its pages, where the CPU has them and it is not 0: pkeys(7). */
  protectionKey?: number;
}

const specialNames: ReadonlySet<string> = new Set([
  '[vvar]',
  '[vvar_vclock]',
  '[vdso]',
  '[vsyscall]',
  '[uprobes]',
]);

/** Mappings that the kernel made and mmap cannot make. */
export function isSpecial(mapping: Pick<Mapping, 'path'>): boolean {
  return specialNames.has(mapping.path);
}

/**
 * True when the path says that the file has no name any more. A file whose name really ends in " (deleted)" looks
 * the same: who needs certainty compares device and inode with those of the path.
 */
export function isDeleted(mapping: Pick<Mapping, 'path'>): boolean {
  return mapping.path.endsWith(' (deleted)');
}

/**
 * The path of a line of maps. The kernel escapes the newline only, not the backslash (show_map_vma): so a name that
 * holds the four characters `\012` cannot be told from a newline, and no other escape may be undone.
 */
export function unescapePath(path: string): string {
  return path.includes('\\') ? path.replaceAll('\\012', '\n') : path;
}

/** Mappings in address order. Empty text (a kernel thread, a dead task) has none. */
export function parseMaps(text: string): Mapping[] {
  const mappings: Mapping[] = [];
  for (let at = 0; at < text.length; ) {
    const end = lineEnd(text, at);
    mappings.push(parseLine(text, at, end));
    at = end + 1;
  }
  return mappings;
}

/**
 * The same with what only smaps tells. Between the line of a mapping and its last field, VmFlags, lie two dozen numbers
 * of which few are looked at, by name: there may be tens of thousands of mappings.
 */
export function parseSmaps(text: string): Mapping[] {
  const mappings: Mapping[] = [];
  const flagSets = new Map<string, ReadonlySet<string>>();
  for (let at = 0; at < text.length; ) {
    // Addresses are lower-case hexadecimal; every field's name begins with a capital.
    if (isCapital(text.charCodeAt(at)))
      throw malformed('smaps', `no mapping before "${text.slice(at, lineEnd(text, at))}"`);
    const mapping = parseLine(text, at, lineEnd(text, at));
    const flagsAt = text.indexOf('\nVmFlags:', at);
    if (flagsAt < 0) throw malformed('smaps', `no VmFlags behind "${text.slice(at, lineEnd(text, at))}"`);
    const end = lineEnd(text, flagsAt + 1);
    const codes = text.slice(flagsAt + 9, end).trim();
    let flags = flagSets.get(codes);
    if (flags === undefined) {
      flags = new Set(codes === '' ? [] : codes.split(' '));
      flagSets.set(codes, flags);
    }
    mapping.flags = flags;
    mapping.anonymousBytes = kilobytes(text, '\nAnonymous:', at, flagsAt);
    mapping.residentBytes = kilobytes(text, '\nRss:', at, flagsAt);
    mapping.swappedBytes = kilobytes(text, '\nSwap:', at, flagsAt);
    mapping.lockedBytes = kilobytes(text, '\nLocked:', at, flagsAt);
    const key = protectionKey(text, flagsAt);
    if (key !== 0) mapping.protectionKey = key;
    mappings.push(mapping);
    at = end + 1;
  }
  return mappings;
}

/** Bytes of a field "Name:   12 kB" that lies between two places; 0 where there is none. `name` begins with the line's end. */
function kilobytes(text: string, name: string, from: number, to: number): number {
  const at = text.indexOf(name, from);
  if (at < 0 || at > to) return 0;
  const digits = /^\s*(\d+) kB$/.exec(text.slice(at + name.length, lineEnd(text, at + 1)));
  if (!digits) throw malformed('smaps', `"${text.slice(at + 1, lineEnd(text, at + 1))}"`);
  return Number(digits[1]) * 1024;
}

/** The line before VmFlags, on CPUs that have protection keys. */
function protectionKey(text: string, flagsAt: number): number {
  const at = text.lastIndexOf('\n', flagsAt - 1) + 1;
  if (!text.startsWith('ProtectionKey:', at)) return 0;
  const digits = text.slice(at + 14, flagsAt).trim();
  if (!/^\d+$/.test(digits)) throw malformed('smaps', `"${text.slice(at, flagsAt)}"`);
  return Number(digits);
}

/** "start-end perms offset device inode path": one space between all but the last two, which are padded. */
function parseLine(text: string, at: number, end: number): Mapping {
  const dash = text.indexOf('-', at);
  const afterEnd = text.indexOf(' ', dash);
  const offsetAt = afterEnd + 6;
  const afterOffset = text.indexOf(' ', offsetAt);
  const afterDevice = text.indexOf(' ', afterOffset + 1);
  let afterInode = afterDevice < 0 ? -1 : text.indexOf(' ', afterDevice + 1);
  if (afterInode < 0 || afterInode > end) afterInode = end;
  const ordered = dash > at && afterEnd > dash && afterOffset > offsetAt && afterDevice > afterOffset;
  if (!ordered || afterDevice + 1 >= afterInode || text[offsetAt - 1] !== ' ')
    throw malformed('maps', `"${text.slice(at, end)}"`);
  let pathAt = afterInode;
  while (pathAt < end && text.charCodeAt(pathAt) === 32) pathAt += 1;
  return {
    start: hexadecimal(text.slice(at, dash)),
    end: hexadecimal(text.slice(dash + 1, afterEnd)),
    read: permission(text, afterEnd + 1, 'r'),
    write: permission(text, afterEnd + 2, 'w'),
    execute: permission(text, afterEnd + 3, 'x'),
    shared: isShared(text, afterEnd + 4),
    offset: hexadecimal(text.slice(offsetAt, afterOffset)),
    device: text.slice(afterOffset + 1, afterDevice),
    inode: decimal(text.slice(afterDevice + 1, afterInode)),
    path: unescapePath(text.slice(pathAt, end)),
  };
}

function permission(text: string, at: number, letter: string): boolean {
  if (text[at] === letter) return true;
  if (text[at] === '-') return false;
  throw malformed('maps', `permission "${text[at]}"`);
}

function isShared(text: string, at: number): boolean {
  if (text[at] === 's') return true;
  if (text[at] === 'p') return false;
  throw malformed('maps', `permission "${text[at]}"`);
}

/** Numbers of up to 52 bits go through a double: several times faster than BigInt(string). */
function hexadecimal(digits: string): bigint {
  const value = Number(`0x${digits}`);
  if (Number.isNaN(value)) throw malformed('maps', `number "${digits}"`);
  return digits.length <= 13 ? BigInt(value) : BigInt(`0x${digits}`);
}

function decimal(digits: string): bigint {
  const value = Number(digits);
  if (!Number.isInteger(value)) throw malformed('maps', `number "${digits}"`);
  return digits.length <= 15 ? BigInt(value) : BigInt(digits);
}

function lineEnd(text: string, at: number): number {
  const end = text.indexOf('\n', at);
  return end < 0 ? text.length : end;
}

function isCapital(code: number): boolean {
  return code >= 65 && code <= 90;
}
