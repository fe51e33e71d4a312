/**
 * Reads past the page cache (O_DIRECT): a device writes into pages that were looked up before, so a page that is
 * protected while such a read is under way changes afterwards without a fault, and no tracker sees it. What is under way
 * needs an open descriptor, and the threads of a stopped process have none under way: so a scan is sound when the process
 * stands still, or when no descriptor was there to read through and nothing was read from a device meanwhile.
 */
import { readdirSync } from 'node:fs';
import { native } from '../native/index.js';
import { openFlags } from './descriptor-types.js';
import type { SourceProcess } from './source-process.js';

const writeOnly = 1; // O_WRONLY
const accessModes = 3; // O_ACCMODE

export interface DirectReadView {
  /** A descriptor is open through which could be read past the page cache. */
  open: boolean;
  /** Bytes that were asked from devices since the process began (proc_pid_io(5)); null where the kernel does not tell. */
  readBytes: number | null;
}

export function lookForDirectReads({ pid }: SourceProcess): DirectReadView {
  // In this order: a read that begins in between has its descriptor open still, or its bytes counted.
  const open = descriptorFlags(pid).some(canReadDirectly);
  const [text] = native.readFiles([`/proc/${pid}/io`]);
  return { open, readBytes: typeof text === 'number' ? null : parseReadBytes(text!.toString()) };
}

/** No such read can have been under way between the two looks. Pure. */
export function isUndisturbed(before: DirectReadView, after: DirectReadView): boolean {
  return !before.open && !after.open && before.readBytes !== null && before.readBytes === after.readBytes;
}

/** O_* of a descriptor that is open for reading with O_DIRECT. Pure. */
export function canReadDirectly(flags: number): boolean {
  return (flags & openFlags.direct) !== 0 && (flags & accessModes) !== writeOnly;
}

export function parseReadBytes(text: string): number | null {
  const digits = /^read_bytes: (\d+)$/m.exec(text)?.[1];
  return digits === undefined ? null : Number(digits);
}

function descriptorFlags(pid: number): number[] {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fdinfo`);
  } catch {
    return []; // the process has ended: whoever needs it will say so
  }
  return native.readFiles(names.map((name) => `/proc/${pid}/fdinfo/${name}`)).flatMap((text) => {
    const flags = typeof text === 'number' ? undefined : /^flags:\s*([0-7]+)$/m.exec(text.toString())?.[1];
    return flags === undefined ? [] : [Number.parseInt(flags, 8)]; // closed meanwhile
  });
}
