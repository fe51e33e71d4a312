/** Alternate signal stacks that hold the frames of this host and would not hold those of the target. Pure. */
import { signalFrameBytes } from '../shared/cpu-features.js';
import { type Blocker, type ErrorCode, MigrationError } from '../shared/errors.js';
import { noteOf, sortOut } from '../shared/force.js';
import type { HostFacts } from '../shared/protocol/messages.js';
import type { Thread } from '../shared/state/threads.js';

/** SS_DISABLE of sigaltstack(2). */
const disabled = 2;
/** Below this the handler itself, small as it may be, is in danger. */
const handlerBytes = 1024;

type Stack = Pick<Thread, 'tid' | 'name' | 'alternateStack'>;

export function detectSignalStacks(
  source: HostFacts,
  target: HostFacts,
  threads: readonly Stack[],
): Blocker[] {
  const [here, there] = [source, target].map(({ extendedStates }) => signalFrameBytes(extendedStates)) as [
    number,
    number,
  ];
  if (there <= here) return [];
  return threads.flatMap(({ tid, name, alternateStack: { flags, bytes } }): Blocker[] => {
    const room = Number(bytes) - there;
    if ((flags & disabled) !== 0 || bytes === 0n || room >= handlerBytes) return [];
    const left = room < 0 ? 'do not fit' : `leave ${room} bytes to the handler`;
    const what = `the alternate signal stack of thread ${tid} (${name}) has ${bytes} bytes: signal frames of ${there} bytes on the target (${here} here) ${left}`;
    return [{ code: 'signal-stack', what, tid, object: 'alternate signal stack' }];
  });
}

/** Only the program itself knows its stacks: they are looked at whenever its state has been read. */
export class StackWatch {
  readonly #found = new Map<number, Blocker>();

  constructor(
    private readonly hosts: { here: HostFacts; there: HostFacts },
    private readonly force: readonly ErrorCode[],
  ) {}

  /** Throws MigrationError 'signal-stack'. */
  look({ threads }: { threads: readonly Stack[] }): void {
    const { here, there } = this.hosts;
    const { blockers, forced } = sortOut(detectSignalStacks(here, there, threads), this.force);
    if (blockers.length > 0) throw MigrationError.refused(blockers);
    for (const blocker of forced) this.#found.set(blocker.tid!, blocker);
  }

  get notes(): string[] {
    return [...this.#found.values()].map(noteOf);
  }
}
