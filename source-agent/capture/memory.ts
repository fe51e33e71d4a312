import { readlinkSync, statSync } from 'node:fs';
import { type Blocker, MigrationError } from '../../shared/errors.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { isSpecial, type Mapping as ProcMapping } from '../../shared/proc/mappings.js';
import { formatRange } from '../../shared/ranges.js';
import type { FileStamp } from '../../shared/state/files.js';
import { advisedFlags, type Mapping } from '../../shared/state/memory.js';
import type { SourceProcess } from '../source-process.js';
import type { Capture } from './kind.js';

/** VmFlags that say nothing beyond what the mapping's line says, or that follow from it: proc(5). */
const impliedFlags: ReadonlySet<string> = new Set(
  ['rd', 'wr', 'ex', 'mr', 'mw', 'me', 'ms', 'ac', 'sd', 'uw', 'um', 'gd', 'nr', 'nl'].concat(advisedFlags),
);
/** How maps calls anonymous memory. */
const anonymousNames: ReadonlySet<string> = new Set(['', '[heap]', '[stack]']);
/** What the flags that are refused mean. */
const flagMeanings: Readonly<Record<string, string>> = {
  sh: 'shared memory',
  ht: 'hugetlb pages',
  io: 'device memory',
  pf: 'device memory',
  sl: 'a sealed mapping',
  ss: 'a shadow stack',
  lf: 'memory locked on fault',
  dr: 'droppable memory',
  de: 'a mapping that may not grow',
  mm: 'device memory',
};

export const captureMemory: Capture<'memory'> = {
  detect({ process, mappings }) {
    return mappings.flatMap((mapping) => refusal(process, mapping));
  },

  capture({ frozen: { process }, view }, questions) {
    const brk = questions.add('brk', syscalls.brk, 0);
    const { stat } = view.leader;
    const executable = readlinkSync(`/proc/${process.pid}/exe`);
    return () => ({
      fields: {
        startCode: stat.startCode,
        endCode: stat.endCode,
        startData: stat.startData,
        endData: stat.endData,
        startBrk: stat.startBrk,
        brk: questions.batch.result(brk),
        startStack: stat.startStack,
        argStart: stat.argStart,
        argEnd: stat.argEnd,
        envStart: stat.envStart,
        envEnd: stat.envEnd,
      },
      auxiliaryVector: process.readBytes('auxv')!,
      executable,
      executableStamp: stampOfPath(executable),
    });
  },
};

/** The state form of mappings; those that belong to the agent (its stub) are left out by range. */
export function stateOfMappings(mappings: readonly ProcMapping[]): Mapping[] {
  return mappings
    .filter(({ path }) => path !== '[vsyscall]')
    .map((mapping) => ({
      start: mapping.start,
      end: mapping.end,
      protection: (mapping.read ? 1 : 0) | (mapping.write ? 2 : 0) | (mapping.execute ? 4 : 0),
      kind: kindOf(mapping),
      name: kindOf(mapping) === 'anonymous' ? '' : mapping.path,
      offset: ['file', 'shared'].includes(kindOf(mapping)) ? mapping.offset : 0n,
      growsDown: mapping.flags?.has('gd') ?? false,
      noReserve: mapping.flags?.has('nr') ?? false,
      accounted: mapping.flags?.has('ac') ?? false,
      advice: advisedFlags.filter((flag) => mapping.flags?.has(flag)),
    }));
}

/** Mappings that cannot be carried; used on every look, as they may come during the rounds. */
export function refusal(process: SourceProcess, mapping: ProcMapping): Blocker[] {
  if (isSpecial(mapping)) return [];
  const object = `mapping ${formatRange(mapping)}${mapping.path && ` of ${mapping.path}`}`;
  const blocker = (code: Blocker['code'], what: string): Blocker[] => [
    { code, what, pid: process.pid, object },
  ];
  if (mapping.shared && kindOf(mapping) !== 'shared')
    return blocker('mapping-kind', `${object} is shared memory`);
  if (mapping.path.startsWith('[anon:'))
    return blocker('mapping-kind', `${object} is a named anonymous mapping`);
  if (!mapping.path.startsWith('/') && !anonymousNames.has(mapping.path))
    return blocker('mapping-kind', `${object} is of a kind that is not carried`);
  const unknown = [...(mapping.flags ?? [])].filter((flag) => !impliedFlags.has(flag));
  if (unknown.length > 0) {
    const known = unknown.map((flag) => flagMeanings[flag]).find((meaning) => meaning !== undefined);
    return known
      ? blocker('mapping-kind', `${object} is ${known}`)
      : blocker('unknown-state', `${object} has flags this version does not know: ${unknown.join(' ')}`);
  }
  if (kindOf(mapping) === 'anonymous') return [];
  const [there, mapped] = [
    statOf(mapping.path),
    statOf(`/proc/${process.pid}/map_files/${formatRange(mapping)}`),
  ];
  if (!mapped) return []; // it went away meanwhile
  if (!mapped.isFile()) return blocker('mapping-kind', `${object} is a mapping of a device`);
  const same = there !== undefined && there.dev === mapped.dev && there.ino === mapped.ino;
  return same ? [] : blocker('mapping-deleted', `${object}: the file was deleted or replaced`);
}

export function kindOf(mapping: ProcMapping): Mapping['kind'] {
  if (isSpecial(mapping)) return 'special';
  if (!mapping.path.startsWith('/')) return 'anonymous';
  // The kernel takes the right to write from a shared mapping of a file that was opened for reading (mm/mmap.c).
  return mapping.shared && !mapping.flags?.has('mw') ? 'shared' : 'file';
}

function statOf(path: string) {
  return statSync(path, { bigint: true, throwIfNoEntry: false });
}

export function stampOfPath(path: string): FileStamp {
  const stats = statOf(path);
  if (!stats) throw new MigrationError('mapping-deleted', `${path} was deleted`, { object: path });
  return {
    device: stats.dev,
    inode: stats.ino,
    size: stats.size,
    modified: stats.mtimeNs,
    changed: stats.ctimeNs,
  };
}
