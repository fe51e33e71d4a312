import { closeSync, constants, openSync } from 'node:fs';
import { MigrationError } from '../../shared/errors.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { MemoryState } from '../../shared/state/memory.js';
import type { Skeleton } from '../skeleton.js';
import type { Restore } from './kind.js';

const prSetMm = 35;
const prSetMmMap = 14;
const noExecutable = 0xffffffff;
/** struct prctl_mm_map: eleven addresses, the auxiliary vector's address, its length, a descriptor. */
const structBytes = 12 * 8 + 8;
const vectorOffset = 4096;

export const restoreMemory: Restore = {
  settle({ skeleton, state: { memory } }) {
    const ours = openExecutable(memory.executable);
    try {
      const [theirs] = skeleton.bring([ours]);
      setFields(skeleton, memory, theirs!);
      skeleton.drop([theirs!]);
    } finally {
      closeSync(ours);
    }
  },
  finish({ skeleton, state: { memory } }, changed) {
    if (changed.has('memory')) setFields(skeleton, memory, noExecutable);
  },
};

/** prctl(2), PR_SET_MM_MAP. A new executable is accepted only while nothing of the old one is mapped. */
function setFields(skeleton: Skeleton, { fields, auxiliaryVector }: MemoryState, executable: number): void {
  const map = Buffer.alloc(structBytes);
  const words = [
    fields.startCode,
    fields.endCode,
    fields.startData,
    fields.endData,
    fields.startBrk,
    fields.brk,
    fields.startStack,
    fields.argStart,
    fields.argEnd,
    fields.envStart,
    fields.envEnd,
    skeleton.put(auxiliaryVector, vectorOffset),
  ];
  words.forEach((word, i) => {
    map.writeBigUInt64LE(word, i * 8);
  });
  map.writeUInt32LE(auxiliaryVector.byteLength, 96);
  map.writeUInt32LE(executable, 100);
  skeleton.call(
    'prctl(PR_SET_MM_MAP)',
    syscalls.prctl,
    prSetMm,
    prSetMmMap,
    skeleton.put(map),
    structBytes,
    0,
  );
}

function openExecutable(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY);
  } catch (cause) {
    throw new MigrationError(
      'file-missing',
      `${path} cannot be opened on the target`,
      { object: path },
      { cause },
    );
  }
}
