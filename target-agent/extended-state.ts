/** The extended state of a thread in the size that this host's ptrace takes: more or fewer registers than at home. */
import { native } from '../native/index.js';
import { type ExtendedState, extendedStatesOf } from '../shared/cpu-features.js';
import { MigrationError } from '../shared/errors.js';

/** The legacy area and the header of XSAVE's standard format; XSTATE_BV begins the header. */
const leastBytes = 576;
const presentAt = 512;
const firstExtended = 2;

/** Read once: a CPU keeps its layout, and this is asked in the freeze. */
let own: readonly ExtendedState[] | undefined;

export function fitted(state: Uint8Array, tid: number): Uint8Array {
  own ??= extendedStatesOf(native.cpuid, native.enabledStates());
  return fit(state, own, tid);
}

/**
 * ptrace takes the whole of it and nothing else (arch/x86/kernel/fpu/regset.c, xstateregs_set): components that only
 * this host has are in their initial state, those that it lacks must not be in use. Pure. Throws MigrationError
 * 'cpu-features'.
 */
export function fit(state: Uint8Array, here: readonly ExtendedState[], tid: number): Uint8Array {
  const bytes = Math.max(leastBytes, ...here.map(({ offset, bytes }) => offset + bytes));
  const present = Buffer.from(state.buffer, state.byteOffset, state.byteLength).readBigUInt64LE(presentAt);
  for (let component = firstExtended; component < 64; component += 1) {
    if (((present >> BigInt(component)) & 1n) === 0n || here.some((one) => one.component === component))
      continue;
    const what = `thread ${tid} has registers in use that the target CPU lacks (state component ${component})`;
    throw new MigrationError('cpu-features', what, { tid, object: `state component ${component}` });
  }
  if (state.byteLength === bytes) return state;
  const resized = new Uint8Array(bytes);
  resized.set(state.subarray(0, bytes));
  return resized;
}
