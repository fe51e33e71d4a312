/**
 * Restartable sequences, rseq(2): a thread that was stopped inside a critical section and made to do something else
 * must take the section's abort path, or it would commit on stale grounds (kernel/rseq.c does the same).
 */
import { get, type Registers, withRegisters } from './x86-64/registers.js';

/** struct rseq_cs: version, flags (u32 each), start, length, abort (u64 each). */
const sectionBytes = 32;
const sectionPointerOffset = 8n;

/** Reads memory of the process. */
export type ReadMemory = (address: bigint, bytes: number) => Buffer;

export function leaveCriticalSection(
  registers: Registers,
  rseq: { address: bigint } | null,
  read: ReadMemory,
): Registers {
  if (!rseq) return registers;
  const section = read(rseq.address + sectionPointerOffset, 8).readBigUInt64LE();
  if (section === 0n) return registers;
  const description = read(section, sectionBytes);
  const start = description.readBigUInt64LE(8);
  const length = description.readBigUInt64LE(16);
  const abort = description.readBigUInt64LE(24);
  const offset = BigInt.asUintN(64, get(registers, 'rip') - start);
  return offset < length ? withRegisters(registers, { rip: abort }) : registers;
}
