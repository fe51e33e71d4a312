/**
 * What keeps the source stopped from the decision on, even when its agent dies: a freezer cgroup where there is one, else a
 * stop signal that is pending while the threads are still held by ptrace and takes effect the moment nobody holds them.
 */
import { native } from '../native/index.js';
import { FreezerCgroup } from './freezer-cgroup.js';

const SIGSTOP = 19;
const SIGCONT = 18;
const stopBit = 1n << BigInt(SIGSTOP - 1);

export interface Hold extends Disposable {
  /** Why a better one could not be had; null for the best. */
  readonly why: string | null;
  /** One system call. Throws where it does not hold. */
  hold(): void;
  /** False where somebody else has let it go. Throws where the process has ended. */
  readonly holds: boolean;
  /** It goes on at once, unless something else holds it. */
  letGo(): void;
  /** Afterwards, or after the end: nothing is left of it. */
  remove(): Promise<void>;
  /** The same where the process is not in it any more; else it stays. */
  removeIfLeft(): Promise<void>;
}

export function holdName(migration: string): string {
  return `godwit-${migration}`;
}

export function isHoldName(name: string): boolean {
  return /^godwit-[0-9a-f]{16}$/.test(name);
}

/** Moves the process where it can be held. Nothing stops. */
export function prepareHold(pid: number, migration: string): Hold {
  try {
    return new FreezerHold(FreezerCgroup.make(pid, holdName(migration)));
  } catch (error) {
    return new StopHold(pid, (error as Error).message);
  }
}

/** That of an earlier agent. */
export function findHold(pid: number, migration: string): Hold | null {
  const cgroup = FreezerCgroup.find(pid, holdName(migration));
  if (cgroup) return new FreezerHold(cgroup);
  const stop = new StopHold(pid, null);
  return stop.holds ? stop : null;
}

class FreezerHold implements Hold {
  readonly why = null;
  constructor(private readonly cgroup: FreezerCgroup) {}

  hold(): void {
    this.cgroup.freeze();
    if (!this.cgroup.isFrozen) throw new Error(`${this.cgroup.folder} does not freeze`);
  }

  get holds(): boolean {
    return this.cgroup.isFrozen;
  }

  letGo(): void {
    this.cgroup.thaw();
  }

  remove(): Promise<void> {
    return this.cgroup.putBack();
  }

  removeIfLeft(): Promise<void> {
    return this.cgroup.remove();
  }

  [Symbol.dispose](): void {
    this.cgroup[Symbol.dispose]();
  }
}

export class StopHold implements Hold {
  constructor(
    private readonly pid: number,
    readonly why: string | null = null,
  ) {}

  hold(): void {
    native.kill(this.pid, SIGSTOP);
  }

  /** Stopped, or about to be when its tracer lets it go. */
  get holds(): boolean {
    const [text] = native.readFiles([`/proc/${this.pid}/status`]);
    if (text === undefined || typeof text === 'number') throw new Error(`there is no process ${this.pid}`);
    const status = text.toString('latin1');
    if (/^State:\tT/m.test(status)) return true;
    const pending = /^ShdPnd:\t([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
    return (BigInt(`0x${pending}`) & stopBit) !== 0n;
  }

  /** For a program whose threads are still held by ptrace it leaves no trace but a SIGCONT it may handle. */
  letGo(): void {
    native.kill(this.pid, SIGCONT);
  }

  async remove(): Promise<void> {}

  async removeIfLeft(): Promise<void> {}

  [Symbol.dispose](): void {}
}
