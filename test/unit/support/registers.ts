/** Registers of a made-up thread. */
import {
  type Register,
  type Registers,
  Register as registerNumbers,
  withRegisters,
} from '../../../shared/injection/x86-64/registers.js';

/** In no system call, unless `originalRax` says which. */
export function registers(values: Partial<Record<Register, bigint>>): Registers {
  const none = new BigUint64Array(Object.keys(registerNumbers).length);
  return withRegisters(none, { originalRax: -1n, cs: 0x33n, rip: 0x400000n, ...values });
}

/** Stopped in call `number` with this result. */
export function inCall(
  number: number,
  result: bigint,
  values: Partial<Record<Register, bigint>> = {},
): Registers {
  return registers({ originalRax: BigInt(number), rax: result, ...values });
}
