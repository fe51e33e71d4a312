/** What this kernel and our rights really allow: each tracker is tried on memory of ours. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { native } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';
import { pageBytes } from '../../shared/ranges.js';
import { SourceProcess } from '../source-process.js';
import { StandIn } from '../stand-in.js';
import type { TrackerName } from './index.js';
import { frameOf, isSoftDirty, readEntry } from './pagemap-entry.js';
import { userfaultFeatures } from './userfault.js';

/** Null where the tracker works; else what is missing, the rest of a sentence that begins with its name. */
export function probeTracker(name: TrackerName): string | null {
  switch (name) {
    case 'userfault':
      return probeUserfault();
    case 'soft-dirty':
      return probeSoftDirty();
    case 'none':
      return null;
  }
}

function probeUserfault(): string | null {
  try {
    return native.probeUserfault(userfaultFeatures) ? null : 'does not tell what was written';
  } catch (error) {
    if (!isKernelError(error)) throw error;
    if (error.syscall === 'ioctl(UFFDIO_API)') return 'has no asynchronous write protection (Linux 6.7)';
    return `failed: ${error.message}`;
  }
}

/** On a child: clearing our own bits would make every next write of ours fault. */
function probeSoftDirty(): string | null {
  using standIn = StandIn.start();
  using process = SourceProcess.open(standIn.pid);
  const stack = process.mappings().find(({ path }) => path === '[stack]');
  if (!stack) return 'could not be tried';
  const page = stack.end - pageBytes;
  const clearing = openSync(`/proc/${standIn.pid}/clear_refs`, 'w');
  try {
    const write = () => native.writeMemory(standIn.pid, page, native.readMemory(standIn.pid, page, 8));
    const read = () => readEntry(process.pagemap, page);
    write();
    const written = isSoftDirty(read());
    writeSync(clearing, '4');
    const cleared = !isSoftDirty(read());
    write();
    if (!written || !cleared || !isSoftDirty(read())) return 'is not in this kernel (CONFIG_MEM_SOFT_DIRTY)';
    return frameOf(read()) === 0n ? 'needs CAP_SYS_ADMIN to tell moved pages' : null;
  } finally {
    closeSync(clearing);
  }
}
