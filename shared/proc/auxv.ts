/** /proc/PID/auxv: pairs of native words, as exec put them on the stack; getauxval(3), proc_pid_auxv(5). */
import { malformed } from './malformed.js';

/** AT_* of linux/auxvec.h and asm/auxvec.h, as far as they are asked for. */
export const AuxiliaryType = {
  null: 0n,
  programHeaders: 3n,
  pageSize: 6n,
  interpreterBase: 7n,
  entry: 9n,
  platform: 15n,
  hardwareCapabilities: 16n,
  clockTicks: 17n,
  random: 25n,
  hardwareCapabilities2: 26n,
  rseqFeatureSize: 27n,
  rseqAlign: 28n,
  executable: 31n,
  vdso: 33n,
  minimalSignalStack: 51n,
} as const;

/**
 * [type, value] in order, without the AT_NULL at the end. Empty for tasks without memory. Of a 32-bit task the
 * words are half as wide: it is refused.
 */
export function parseAuxv(bytes: Buffer): [type: bigint, value: bigint][] {
  const entries: [bigint, bigint][] = [];
  if (bytes.length === 0) return entries;
  for (let at = 0; at + 16 <= bytes.length; at += 16) {
    const type = bytes.readBigUInt64LE(at);
    if (type === AuxiliaryType.null) return entries;
    // Types are small numbers; 32-bit pairs read as one word are not.
    if (type > 0xffffn) throw malformed('auxv', `type ${type}`);
    entries.push([type, bytes.readBigUInt64LE(at + 8)]);
  }
  throw malformed('auxv', 'no end');
}
