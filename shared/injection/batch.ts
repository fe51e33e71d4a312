/** A list of system calls for another process: made here, run by the addon in one go. */

import type { CallTable } from '../../native/index.js';
import { KernelError } from '../errors.js';

const entryWords = 8;

/** A value for an argument register: numbers and bigints alike, negative ones as they are. */
export type Argument = number | bigint;

export class CallBatch {
  readonly #calls: { name: string; number: number; arguments: Argument[] }[] = [];
  #results: CallTable | undefined;

  /** Adds a call and returns its index. `name` is what an error will call it. */
  add(name: string, number: number, ...given: Argument[]): number {
    this.#calls.push({ name, number, arguments: given });
    return this.#calls.length - 1;
  }

  get length(): number {
    return this.#calls.length;
  }

  /** The flat form the addon runs; results are read from it afterwards. */
  table(): CallTable {
    const table = new BigInt64Array(this.#calls.length * entryWords);
    const halves = new Int32Array(table.buffer);
    this.#calls.forEach((call, i) => {
      halves[i * entryWords * 2] = call.number;
      call.arguments.forEach((argument, j) => {
        const word = i * entryWords + 1 + j;
        // Small numbers, which most are, take no bigint each.
        if (typeof argument === 'number' && argument === (argument | 0)) {
          halves[word * 2] = argument;
          halves[word * 2 + 1] = argument < 0 ? -1 : 0;
        } else {
          table[word] = BigInt(argument);
        }
      });
    });
    this.#results = table;
    return table;
  }

  /** What the kernel returned: a negative errno on failure. */
  raw(index: number): bigint {
    return this.#results![index * entryWords + 7]!;
  }

  /** The result of a call that must not fail. Throws KernelError. */
  result(index: number): bigint {
    const value = this.raw(index);
    if (value < 0n && value > -4096n) {
      const { name } = this.#calls[index]!;
      throw remoteFailure(name, Number(-value));
    }
    return value;
  }

  /** Throws the first failure, except of calls that `allowed` accepts. */
  check(allowed: (index: number, errno: number) => boolean = () => false): void {
    for (let i = 0; i < this.length; i += 1) {
      const value = this.raw(i);
      if (value < 0n && value > -4096n && !allowed(i, Number(-value))) this.result(i);
    }
  }
}

function remoteFailure(name: string, errno: number): KernelError {
  const code = errnoNames.get(errno) ?? `E${errno}`;
  return new KernelError(`${name} in the process: ${code}`, code, errno, name);
}

const errnoNames = new Map<number, string>(
  Object.entries({
    EPERM: 1,
    ENOENT: 2,
    ESRCH: 3,
    EINTR: 4,
    EIO: 5,
    EBADF: 9,
    EAGAIN: 11,
    ENOMEM: 12,
    EACCES: 13,
    EFAULT: 14,
    EBUSY: 16,
    EEXIST: 17,
    ENODEV: 19,
    EINVAL: 22,
    EMFILE: 24,
    ENOSYS: 38,
    EOVERFLOW: 75,
  }).map(([name, number]) => [number, name]),
);
