/** /proc/PID/fdinfo/N: fs/proc/fd.c and the show_fdinfo of each kind of file, proc_pid_fdinfo(5). */
import { malformed } from './malformed.js';

export interface DescriptorInfo {
  position: bigint;
  /** O_* of the open file description, and O_CLOEXEC of this descriptor. */
  flags: number;
  mountId: number;
  /** null before Linux 5.14. */
  inode: bigint | null;
  /** Each lock held through this description, without the leading "lock:". */
  locks: string[];
  /**
   * All other lines, by what stands before the first colon ("eventfd-count", "tfd", "inotify wd", "settime flags");
   * a line without a colon is a name with an empty value. Who carries a kind of descriptor names those it knows.
   */
  extra: Record<string, string[]>;
}

export function parseDescriptorInfo(text: string): DescriptorInfo {
  let position: bigint | undefined;
  let flags: number | undefined;
  let mountId: number | undefined;
  let inode: bigint | null = null;
  const locks: string[] = [];
  const extra = new Map<string, string[]>();

  // The four general fields come first, once; a later line of the same name belongs to the kind of the file.
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const colon = line.indexOf(':');
    const name = (colon < 0 ? line : line.slice(0, colon)).trim();
    const value = colon < 0 ? '' : line.slice(colon + 1).trim();
    if (name === 'pos' && position === undefined) position = BigInt(match(name, value, /^-?\d+$/));
    else if (name === 'flags' && flags === undefined)
      flags = Number.parseInt(match(name, value, /^[0-7]+$/), 8);
    else if (name === 'mnt_id' && mountId === undefined) mountId = Number(match(name, value, /^-?\d+$/));
    else if (name === 'ino' && inode === null) inode = BigInt(match(name, value, /^\d+$/));
    else if (name === 'lock') locks.push(value);
    else {
      const values = extra.get(name);
      if (values) values.push(value);
      else extra.set(name, [value]);
    }
  }

  if (position === undefined || flags === undefined || mountId === undefined)
    throw malformed('fdinfo', 'pos, flags or mnt_id is missing');
  return { position, flags, mountId, inode, locks, extra: Object.fromEntries(extra) };
}

function match(name: string, value: string, shape: RegExp): string {
  if (!shape.test(value)) throw malformed('fdinfo', `${name} "${value}"`);
  return value;
}
