/**
 * Two instructions in the program's own code on which remote calls in a source stand: `syscall; ret`, and the C
 * library's signal restorer. The vdso has neither.
 */
import { native } from '../native/index.js';
import type { Mapping } from '../shared/proc/mappings.js';
import { flatten } from '../shared/ranges.js';

export interface InjectionPoint {
  /** syscall; ret */
  gadget: bigint;
  /** mov $15, %rax; syscall (rt_sigreturn) */
  restorer: bigint;
}

const syscallReturn = Uint8Array.of(0x0f, 0x05, 0xc3);
const signalRestorer = Uint8Array.of(0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05);

/** null where the program's code has no such instructions. */
export function findInjectionPoint(pid: number, mappings: readonly Mapping[]): InjectionPoint | null {
  const code = flatten(mappings.filter(isCode));
  const gadget = native.findBytes(pid, code, syscallReturn);
  const restorer = native.findBytes(pid, code, signalRestorer);
  return gadget === null || restorer === null ? null : { gadget, restorer };
}

/** True while both are still where they were found. */
export function isValid(pid: number, { gadget, restorer }: InjectionPoint): boolean {
  return (
    native.readMemory(pid, gadget, syscallReturn.length).equals(syscallReturn) &&
    native.readMemory(pid, restorer, signalRestorer.length).equals(signalRestorer)
  );
}

function isCode({ read, execute, path }: Mapping): boolean {
  return read && execute && path !== '[vsyscall]' && path !== '[vdso]';
}
