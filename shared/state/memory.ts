/**
 * The address space: its fields (prctl(2), PR_SET_MM_MAP) and its mappings. What is in the mappings travels as page
 * frames.
 */
import * as v from 'valibot';
import { FileStamp } from './files.js';
import { address, bytes, list, pageAddress, path, uint32, word } from './values.js';

export const AddressSpaceFields = v.strictObject({
  startCode: address,
  endCode: address,
  startData: address,
  endData: address,
  startBrk: address,
  brk: address,
  startStack: address,
  argStart: address,
  argEnd: address,
  envStart: address,
  envEnd: address,
});
export type AddressSpaceFields = v.InferOutput<typeof AddressSpaceFields>;

/** VmFlags of /proc/PID/smaps that are put back, by their two letters (proc(5)). */
export const advisedFlags = ['dc', 'dd', 'hg', 'nh', 'wf', 'mg', 'sr', 'rr', 'lo', 'lf'] as const;

/** Twice what a kernel allows by default (vm.max_map_count). */
export const maxMappings = 1 << 17;

export const Mapping = v.pipe(
  v.strictObject({
    start: pageAddress,
    end: pageAddress,
    /** PROT_READ | PROT_WRITE | PROT_EXEC */
    protection: v.pipe(uint32, v.maxValue(7)),
    /** shared: a shared mapping of a file that was opened for reading only: nobody can write through it. */
    kind: v.picklist(['anonymous', 'file', 'shared', 'special']),
    /** The file's path, or the special mapping's name ([vdso], [vvar] ...); empty for anonymous memory. */
    name: v.pipe(v.string(), v.maxLength(4096)),
    offset: word,
    growsDown: v.boolean(),
    noReserve: v.boolean(),
    /** Its memory is charged for (VM_ACCOUNT): it was writable once. Neighbours that differ in it never join. */
    accounted: v.boolean(),
    /** What anonymous memory was called: PR_SET_VMA_ANON_NAME of prctl(2), 79 bytes at most. */
    label: v.pipe(v.string(), v.regex(/^[ -~]{0,79}$/)),
    /** mseal(2) */
    sealed: v.boolean(),
    advice: list(v.picklist(advisedFlags), advisedFlags.length),
  }),
  v.check((mapping) => mapping.start < mapping.end, 'empty mapping'),
);
export type Mapping = v.InferOutput<typeof Mapping>;

/** Sorted and without overlap: checked, because what follows relies on it. */
export const Mappings = v.pipe(
  list(Mapping, maxMappings),
  v.check(
    (mappings) => mappings.every((mapping, i) => i === 0 || mappings[i - 1]!.end <= mapping.start),
    'mappings overlap or are out of order',
  ),
);

export const MemoryState = v.strictObject({
  fields: AddressSpaceFields,
  auxiliaryVector: bytes(4096),
  executable: path,
  executableStamp: FileStamp,
  /** mlockall(2): new mappings are locked, or locked as they are touched. */
  lockFuture: v.picklist(['no', 'yes', 'on-fault']),
  /** prctl(2), PR_SET_MEMORY_MERGE: all memory, also of new mappings, may be merged with equal pages. */
  mergeAny: v.boolean(),
});
export type MemoryState = v.InferOutput<typeof MemoryState>;
