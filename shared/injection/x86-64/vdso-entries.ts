/**
 * Where the functions of a program's vdso go on under a kernel with another one. Every entry point of the program's
 * image is overwritten: by a jump to the kernel's function of that name, or by the system call the function stands
 * for. What lies behind the entry points is not executed any more. Pure.
 */
import { type VdsoFunction, vdsoFunctions } from '../../vdso-image.js';

export interface Redirection {
  names: string[];
  /** Bytes from the start of the program's image. */
  offset: number;
  /** What is to stand there when the kernel's vdso is mapped at `base`. */
  code(base: bigint): Uint8Array;
}

export interface Redirections {
  redirections: Redirection[];
  /** Why it cannot be done, a sentence for each reason. */
  obstacles: string[];
}

/** System calls that take the arguments of the function and return what it returns. */
const plainCalls: Readonly<Record<string, number>> = {
  __vdso_clock_gettime: 228,
  __vdso_clock_getres: 229,
  __vdso_gettimeofday: 96,
  __vdso_time: 201,
  __vdso_getcpu: 309,
};
const getrandomCall = 318;
const ENOSYS = 38;

/**
 * getrandom keeps state in memory that the program gives it, in a form that belongs to one kernel: whatever the target
 * has, it becomes the system call. Asked how large that state is (its length is given as -1) it says ENOSYS, upon which
 * a C library makes the system call itself.
 */
const getrandom = Uint8Array.of(
  ...[0x49, 0x83, 0xf8, 0xff], // cmp $-1, %r8
  ...[0x74, 0x08], // je 1f
  ...[0xb8, ...littleEndian32(getrandomCall)], // mov $number, %eax
  ...[0x0f, 0x05], // syscall
  0xc3, // ret
  ...[0x48, 0xc7, 0xc0, ...littleEndian32(-ENOSYS)], // 1: mov $-ENOSYS, %rax
  0xc3, // ret
);

/** Enclaves are devices and do not move: nobody can be in need of it. */
const unsupported = Uint8Array.of(0xb8, ...littleEndian32(-ENOSYS), 0xc3); // mov $-ENOSYS, %eax; ret

const fixedCode: Readonly<Record<string, Uint8Array>> = {
  __vdso_getrandom: getrandom,
  __vdso_sgx_enter_enclave: unsupported,
};

/** Throws MigrationError 'kernel-differs' where an image cannot be read. */
export function redirect(programImage: Uint8Array, kernelImage: Uint8Array): Redirections {
  const there = new Map(vdsoFunctions(kernelImage).map(({ name, offset }) => [name, offset]));
  const redirections: Redirection[] = [];
  const obstacles: string[] = [];
  const entries = byOffset(vdsoFunctions(programImage));
  entries.forEach(({ names, offset }, i) => {
    const code = codeFor(names, there);
    if (!code) {
      obstacles.push(`the target's vdso has no ${names.join(' or ')}`);
      return;
    }
    const room = (entries[i + 1]?.offset ?? programImage.byteLength) - offset;
    if (code(0n).byteLength > room)
      obstacles.push(`${names[0]} of the program's vdso is only ${room} bytes long`);
    else redirections.push({ names, offset, code });
  });
  return { redirections, obstacles };
}

function codeFor(names: readonly string[], there: ReadonlyMap<string, number>): Redirection['code'] | null {
  const fixed = names.map((name) => fixedCode[name]).find((code) => code !== undefined);
  if (fixed) return () => fixed;
  const target = names.map((name) => there.get(name)).find((offset) => offset !== undefined);
  if (target !== undefined) return (base) => jumpTo(base + BigInt(target));
  const call = names.map((name) => plainCalls[name]).find((number) => number !== undefined);
  return call === undefined ? null : () => systemCall(call);
}

/** Aliases share a place: __vdso_time and time. */
function byOffset(functions: readonly VdsoFunction[]): { names: string[]; offset: number }[] {
  const places = new Map<number, string[]>();
  for (const { name, offset } of functions) places.set(offset, [...(places.get(offset) ?? []), name]);
  return [...places].map(([offset, names]) => ({ offset, names }));
}

/** movabs $address, %r11; jmp *%r11: a function may spoil r11 (System V ABI). */
function jumpTo(address: bigint): Uint8Array {
  const code = Buffer.from([0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0xff, 0xe3]);
  code.writeBigUInt64LE(address, 2);
  return code;
}

/** mov $number, %eax; syscall; ret */
function systemCall(number: number): Uint8Array {
  return Uint8Array.of(0xb8, ...littleEndian32(number), 0x0f, 0x05, 0xc3);
}

function littleEndian32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
