import { readlinkSync, statSync } from 'node:fs';
import { type Blocker, MigrationError } from '../../shared/errors.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { isSpecial, type Mapping as ProcMapping } from '../../shared/proc/mappings.js';
import { formatRange } from '../../shared/ranges.js';
import type { FileStamp } from '../../shared/state/files.js';
import { advisedFlags, type Mapping } from '../../shared/state/memory.js';
import type { FrozenProcess } from '../frozen-process.js';
import type { SourceProcess } from '../source-process.js';
import type { Capture } from './kind.js';
import type { Questions } from './questions.js';

/** VmFlags that say nothing beyond what the mapping's line says, or that follow from it: proc(5). */
const impliedFlags: ReadonlySet<string> = new Set(
  ['rd', 'wr', 'ex', 'mr', 'mw', 'me', 'ms', 'ac', 'sd', 'uw', 'gd', 'gu', 'nr', 'nl', 'sl'].concat(
    advisedFlags,
  ),
);
/** prctl(2), Linux 6.4 */
const getMemoryMerge = 68;
/** How maps calls anonymous memory; PR_SET_VMA_ANON_NAME (prctl(2)) adds names of the program's own. */
const anonymousName = /^(\[heap\]|\[stack\]|\[anon:.*\])?$/;
const labelOf = /^\[anon:(.*)\]$/;
/** What the flags that are refused mean. */
const flagMeanings: Readonly<Record<string, string>> = {
  sh: 'shared memory',
  um: 'memory whose missing pages somebody brings through a userfaultfd',
  ui: 'memory whose missing pages somebody brings through a userfaultfd',
  ht: 'hugetlb pages',
  io: 'device memory',
  pf: 'device memory',
  ss: 'a shadow stack',
  dp: 'droppable memory',
  de: 'a mapping that may not grow',
  mm: 'device memory',
};

export const captureMemory: Capture<'memory'> = {
  detect({ process, mappings }) {
    return refusals(process, mappings);
  },

  capture({ frozen, view }, questions) {
    const { process } = frozen;
    const brk = questions.add('brk', syscalls.brk, 0);
    const mergeAny = questions.add('prctl(PR_GET_MEMORY_MERGE)', syscalls.prctl, getMemoryMerge, 0, 0, 0, 0);
    const lockFuture = addLockProbe(questions, frozen);
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
      lockFuture: lockFuture(),
      mergeAny: questions.batch.raw(mergeAny) > 0n,
    });
  },
};

/**
 * mlockall(MCL_FUTURE) shows only in what is mapped after it: so a page is mapped for a moment. MADV_DONTNEED refuses
 * locked memory (mm/madvise.c, can_madv_lru_vma), and memory that is not locked on fault alone is there at once.
 */
function addLockProbe(questions: Questions, { carrier }: FrozenProcess): () => 'no' | 'yes' | 'on-fault' {
  const [page, readWrite, fixedNoReplaceAnonymousPrivate, dontNeed] = [4096n, 3, 0x100022, 4];
  const where = [carrier.end, page] as const;
  const resident = questions.room(1);
  const map = questions.add(
    'mmap',
    syscalls.mmap,
    ...where,
    readWrite,
    fixedNoReplaceAnonymousPrivate,
    -1,
    0,
  );
  questions.add('mincore', syscalls.mincore, ...where, resident);
  const drop = questions.add('madvise', syscalls.madvise, ...where, dontNeed);
  questions.add('munmap', syscalls.munmap, ...where);
  return () => {
    questions.batch.result(map);
    if (questions.batch.raw(drop) === 0n) return 'no';
    return questions.answer(resident, 1)[0]! & 1 ? 'yes' : 'on-fault';
  };
}

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
      label: labelOf.exec(mapping.path)?.[1] ?? '',
      sealed: mapping.flags?.has('sl') ?? false,
      advice: advisedFlags.filter((flag) => mapping.flags?.has(flag)),
    }));
}

/** Mappings that cannot be carried; used on every look, as they may come during the rounds. */
export function refusals(process: SourceProcess, mappings: readonly ProcMapping[]): Blocker[] {
  /** Files that were found to be what their name says, or not. */
  const files = new Map<string, Blocker[]>();
  return mappings.flatMap((mapping) => refusal(process, mapping, files));
}

function refusal(process: SourceProcess, mapping: ProcMapping, files: Map<string, Blocker[]>): Blocker[] {
  if (isSpecial(mapping)) return [];
  const object = `mapping ${formatRange(mapping)}${mapping.path && ` of ${mapping.path}`}`;
  const blocker = (code: Blocker['code'], what: string): Blocker[] => [
    { code, what, pid: process.pid, object },
  ];
  if (mapping.shared && mapping.path.startsWith('/[aio]'))
    return blocker('mapping-kind', `${object} belongs to asynchronous I/O (io_setup)`);
  if (mapping.shared && mapping.path.startsWith('/secretmem'))
    return blocker('mapping-kind', `${object} is secret memory (memfd_secret)`);
  if (mapping.shared && kindOf(mapping) !== 'shared')
    return blocker('mapping-kind', `${object} is shared memory`);
  if (mapping.protectionKey !== undefined)
    return blocker('mapping-kind', `${object} has the protection key ${mapping.protectionKey}`);
  if (!mapping.path.startsWith('/') && !anonymousName.test(mapping.path))
    return blocker('mapping-kind', `${object} is of a kind that is not carried`);
  const unknown = [...(mapping.flags ?? [])].filter((flag) => !impliedFlags.has(flag));
  if (unknown.length > 0) {
    const known = unknown.map((flag) => flagMeanings[flag]).find((meaning) => meaning !== undefined);
    return known
      ? blocker('mapping-kind', `${object} is ${known}`)
      : blocker('unknown-state', `${object} has flags this version does not know: ${unknown.join(' ')}`);
  }
  if (kindOf(mapping) === 'anonymous') return [];
  const file = `${mapping.device} ${mapping.inode} ${mapping.path}`;
  const known = files.get(file) ?? fileRefusal(process, mapping, blocker, object);
  files.set(file, known);
  return known;
}

function fileRefusal(
  process: SourceProcess,
  mapping: ProcMapping,
  blocker: (code: Blocker['code'], what: string) => Blocker[],
  object: string,
): Blocker[] {
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
