/**
 * A relative time limit of a stopped thread. Where the kernel would begin it again, the call gets another one: what
 * remains. A number goes into the register. A time behind a pointer belongs to the program, which may use it again,
 * so the pointer is led to a place of ours below the thread's red zone, where only signal handlers write.
 */
import { native, type ThreadImage } from '../native/index.js';
import { isKernelError } from '../shared/errors.js';
import { deadlineHolder } from '../shared/injection/restart.js';
import {
  type TimeoutPlace,
  timeoutBytes,
  wholeMilliseconds,
  writtenTimeout,
} from '../shared/injection/timeouts.js';
import { get, type Registers, withRegisters } from '../shared/injection/x86-64/registers.js';

/** The red zone, and our place. native/src/signal_frame.cc keeps its frames below. */
const placeBelowStack = 128n + BigInt(timeoutBytes);

export class FrozenWait {
  readonly #holder: 'kernel' | 'program' | 'nobody';
  /** Where the time is that the next call will read; null for a number, and where the stack has no room. */
  readonly #at: bigint | null;
  /** What was there. */
  readonly #covered: Buffer | null;

  /** Writes the time that remains. The thread must be stopped. */
  constructor(
    private readonly pid: number,
    image: ThreadImage,
    private readonly place: TimeoutPlace,
    /** When the thread was stopped. */
    readonly remainingNs: bigint,
  ) {
    this.#holder = deadlineHolder(image.registers);
    if (place.form === 'milliseconds') {
      this.#at = null;
      this.#covered = null;
    } else if (this.#holder === 'program') {
      this.#at = get(image.registers, place.register);
      this.#covered = null;
    } else {
      const at = (get(image.registers, 'rsp') - placeBelowStack) & ~15n;
      this.#covered = readIfThere(pid, at);
      this.#at = this.#covered && writeIfRoom(pid, at, writtenTimeout(place.form, remainingNs)) ? at : null;
    }
  }

  /** `registers` as the thread goes on with them should nobody touch it any more, and on the target. */
  goingOn(registers: Registers): Registers {
    return this.#holder === 'nobody' ? this.callingAgain(registers) : registers;
  }

  /** The same for a thread whose call is made again, whoever knew its deadline. */
  callingAgain(registers: Registers): Registers {
    return this.#holder === 'program' ? registers : this.#with(registers, this.remainingNs);
  }

  #with(registers: Registers, remainingNs: bigint): Registers {
    const { register, form } = this.place;
    if (form === 'milliseconds')
      return withRegisters(registers, { [register]: wholeMilliseconds(remainingNs) });
    return this.#at === null ? registers : withRegisters(registers, { [register]: this.#at });
  }

  /** Its time went on while it was held: the registers and the memory with which it goes on at home now. */
  thaw(registers: Registers, heldNs: bigint): Registers {
    if (this.#holder === 'kernel') {
      if (this.#at !== null) native.writeMemory(this.pid, this.#at, this.#covered!);
      return registers;
    }
    const left = this.remainingNs > heldNs ? this.remainingNs - heldNs : 0n;
    const { form } = this.place;
    if (form !== 'milliseconds' && this.#at !== null) {
      native.writeMemory(this.pid, this.#at, writtenTimeout(form, left));
    }
    return this.#holder === 'program' ? registers : this.#with(registers, left);
  }
}

function readIfThere(pid: number, at: bigint): Buffer | null {
  try {
    return native.readMemory(pid, at, timeoutBytes);
  } catch (error) {
    if (!isKernelError(error, 'EFAULT')) throw error;
    return null;
  }
}

function writeIfRoom(pid: number, at: bigint, bytes: Buffer): boolean {
  try {
    native.writeMemory(pid, at, bytes);
    return true;
  } catch (error) {
    if (!isKernelError(error, 'EFAULT')) throw error;
    return false;
  }
}
