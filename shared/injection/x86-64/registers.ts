/** struct user_regs_struct of x86-64 as 27 words: arch/x86/include/asm/user_64.h. */

export const Register = {
  r15: 0,
  r14: 1,
  r13: 2,
  r12: 3,
  rbp: 4,
  rbx: 5,
  r11: 6,
  r10: 7,
  r9: 8,
  r8: 9,
  rax: 10,
  rcx: 11,
  rdx: 12,
  rsi: 13,
  rdi: 14,
  originalRax: 15,
  rip: 16,
  cs: 17,
  eflags: 18,
  rsp: 19,
  ss: 20,
  fsBase: 21,
  gsBase: 22,
  ds: 23,
  es: 24,
  fs: 25,
  gs: 26,
} as const;
export type Register = keyof typeof Register;

export type Registers = BigUint64Array;

const noSyscall = 0xffffffffffffffffn;
/** Code segment of 64-bit user code; 32-bit code runs with 0x23. */
export const userCodeSegment = 0x33n;

export function get(registers: Registers, name: Register): bigint {
  return registers[Register[name]]!;
}

export function getSigned(registers: Registers, name: Register): bigint {
  return BigInt.asIntN(64, get(registers, name));
}

/** A copy with some registers changed; negative values are taken as two's complement. */
export function withRegisters(registers: Registers, changes: Partial<Record<Register, bigint>>): Registers {
  const copy = registers.slice();
  for (const [name, value] of Object.entries(changes)) {
    copy[Register[name as Register]] = BigInt.asUintN(64, value);
  }
  return copy;
}

/** The number of the system call the thread is in, or null. */
export function currentSyscall(registers: Registers): number | null {
  const number = get(registers, 'originalRax');
  return number === noSyscall ? null : Number(BigInt.asIntN(32, number));
}

/** Registers with which the thread makes its system call again: the instruction is two bytes long. */
export function asCalledAgain(registers: Registers): Registers {
  return withRegisters(registers, {
    rax: get(registers, 'originalRax'),
    originalRax: -1n,
    rip: get(registers, 'rip') - 2n,
  });
}

export function toBytes(registers: Registers): Uint8Array {
  return new Uint8Array(
    registers.buffer.slice(registers.byteOffset, registers.byteOffset + registers.byteLength),
  );
}

export function fromBytes(bytes: Uint8Array): Registers {
  return new BigUint64Array(Uint8Array.from(bytes).buffer);
}
