/**
 * The whole story of a migration, on the target, as the shepherd lives it: read this first. Each method answers one
 * message of the source; the order is the walk of ARCHITECTURE.md.
 */
import { closeSync } from 'node:fs';
import { native, UserfaultFeature, UserfaultMode } from '../native/index.js';
import { MigrationError } from '../shared/errors.js';
import { CallBatch } from '../shared/injection/batch.js';
import { syscalls } from '../shared/injection/x86-64/syscalls.js';
import { type Kind, kindsInOrder } from '../shared/kinds.js';
import { PhaseClock } from '../shared/phases.js';
import type { FromSource, ProgramVdso } from '../shared/protocol/messages.js';
import type { AddressRange } from '../shared/ranges.js';
import type { State } from '../shared/state/index.js';
import type { Mapping } from '../shared/state/memory.js';
import { pack, unpack } from '../shared/state/packed.js';
import { AddressSpace } from './address-space.js';
import { applySettings, assertAvailable, complete } from './address-space-completion.js';
import { verifyChanged } from './changed-files.js';
import { collapse } from './huge-pages.js';
import { highestOf, OpenFiles } from './open-files.js';
import { assertAllowed } from './policy.js';
import { finishAll, settleAll } from './restore/index.js';
import { armWaits, load } from './restore/threads.js';
import { Skeleton } from './skeleton.js';
import type { StandardStreams } from './standard-streams.js';
import { finishVdso } from './vdso-exit.js';

type Message<Type extends FromSource['type']> = Extract<FromSource, { type: Type }>;

/** Room above the highest descriptor of the program for one of ours. */
const helperDistance = 64;

export class Restoration implements Disposable {
  readonly notes: string[] = [];
  #skeleton: Skeleton | undefined;
  #space: AddressSpace | undefined;
  #files: OpenFiles | undefined;
  #state: State | undefined;
  #userfault = -1;
  #settled = false;
  #adjusted = false;
  #prepared = false;
  #phases: Record<string, number> = {};

  /** `acceptedFiles`: paths of files that differ here, which was forced. */
  constructor(
    private readonly streams: StandardStreams,
    private readonly acceptedFiles: ReadonlySet<string> = new Set(),
  ) {}

  get skeleton(): Skeleton {
    if (!this.#skeleton) throw new MigrationError('protocol-violation', 'nothing has been built yet');
    return this.#skeleton;
  }

  /** Makes the process at its id, its address space laid out. Returns what the agent fills it through. */
  build({ mappings, state }: Message<'build'>, vdso: ProgramVdso): { memory: number; userfault: number } {
    if (this.#skeleton) throw new MigrationError('protocol-violation', 'it has been built already');
    assertAllowed(state);
    const skeleton = Skeleton.create(state.process.pid, highestOf(state.files.descriptors) + helperDistance);
    this.#raise(skeleton, mappings, state, vdso);
    assertAvailable(skeleton, mappings);
    this.#userfault = openUserfault(skeleton, this.#space!.fillable);
    return { memory: skeleton.memory, userfault: this.#userfault };
  }

  #raise(skeleton: Skeleton, mappings: readonly Mapping[], state: State, vdso: ProgramVdso): void {
    this.#skeleton = skeleton;
    this.#space = new AddressSpace(skeleton, vdso);
    this.#space.build([...mappings]);
    this.#files = new OpenFiles(skeleton, this.streams);
    this.#state = state;
  }

  /** Follows the mappings of the source. */
  layout({ splices }: Message<'layout'>): void {
    if (this.#prepared) throw new MigrationError('protocol-violation', 'it is prepared already');
    const filling = this.#userfault >= 0;
    const registered = new Map((filling ? this.#space!.fillable : []).map(({ start, end }) => [start, end]));
    this.#space!.follow(splices);
    if (!filling) return;
    // Registering what is registered already changes nothing.
    for (const { start, end } of this.#space!.fillable) {
      if (registered.get(start) !== end) {
        native.userfaultRegister(this.#userfault, start, end, UserfaultMode.missing);
      }
    }
  }

  /** Everything that can be put in place while the source still runs. */
  settle({ state, huge }: Message<'settle'>): void {
    if (this.#settled) throw new MigrationError('protocol-violation', 'it has been settled already');
    this.#closeUserfault();
    this.#state = { ...this.#state!, ...(state as Partial<State>) };
    assertAllowed(this.#state);
    collapse(this.skeleton, huge);
    this.#space!.lock();
    settleAll(this.#restoring());
    this.#settled = true;
  }

  /**
   * What is to come, with a stand-in: an empty process of any id, laid out the same. So nothing in the freeze happens
   * for the first time, when code has yet to be compiled. A rehearsal that fails says nothing about the performance.
   */
  async rehearse(message: Message<'rehearse'>): Promise<Record<string, number>> {
    if (!this.#settled || this.#adjusted)
      throw new MigrationError('protocol-violation', 'it is not due to be rehearsed');
    const standIn = new Restoration(this.streams);
    try {
      const skeleton = Skeleton.create(null, helperDistance);
      const state = played(this.#state!, skeleton.innerPid);
      const { layout, vdso } = this.#space!;
      standIn.#raise(skeleton, sample(layout, vdso.start).map(weightless), state, vdso);
      standIn.settle({ type: 'settle', frames: 0, state: {}, huge: [] });
      return await standIn.finish({
        ...message,
        type: 'finish',
        epoch: 0,
        state: pack({ threads: state.threads }),
      });
    } catch {
      return {};
    } finally {
      standIn.#skeleton?.[Symbol.dispose]();
    }
  }

  /** In the freeze: the differences, perhaps while the last pages are on their way. */
  adjust(message: Message<'adjust'>): void {
    if (!this.#settled || this.#adjusted)
      throw new MigrationError('protocol-violation', 'it is not due to be adjusted');
    this.#adjusted = true;
    const clock = new PhaseClock();
    const state = unpack(message.state);
    this.#state = { ...this.#state!, ...(state as Partial<State>) };
    assertAllowed(this.#state);
    const changed = new Set(kindsInOrder().filter((kind: Kind) => state[kind] !== undefined));
    // While it may: credentials come last.
    applySettings(this.skeleton, this.#space!.layout, this.#state.memory);
    finishAll(this.#restoring(), changed);
    this.#files!.letGo();
    clock.mark('state');
    this.#phases = clock.phases;
  }

  /** In the freeze, when all pages are there: afterwards the process is complete and held. */
  async finish(message: Message<'finish'>): Promise<Record<string, number>> {
    if (message.state) this.adjust({ type: 'adjust', state: message.state });
    if (!this.#adjusted || this.#prepared)
      throw new MigrationError('protocol-violation', 'it is not due to be finished');
    const clock = new PhaseClock();
    await verifyChanged(message.changedFiles, this.acceptedFiles);
    this.#space!.drop(message.dropped.map(([start, end]) => ({ start, end })));
    clock.mark('drop');
    complete(this.skeleton, this.#space!.layout, message.guards);
    const { skeleton } = this;
    const threads = message.vdso
      ? finishVdso(skeleton, this.#state!, message.vdso, this.#space!.vdso)
      : this.#state!.threads;
    this.#space!.connect();
    armWaits(skeleton, threads);
    skeleton.unmapStub();
    load(skeleton, threads);
    clock.mark('registers');
    if (this.#space!.unnamed) this.notes.push('the names of memory are lost: this kernel has none');
    this.#prepared = true;
    return { ...this.#phases, ...clock.phases };
  }

  /** The decision has fallen: it runs. */
  run(): number {
    if (!this.#prepared) throw new MigrationError('protocol-violation', 'it is not prepared');
    const { skeleton } = this;
    skeleton.release();
    return skeleton.pid;
  }

  /** Before the decision only: the skeleton goes, nothing stays behind. */
  [Symbol.dispose](): void {
    this.#closeUserfault();
    if (this.#prepared === false) this.#files?.[Symbol.dispose]();
    this.#skeleton?.[Symbol.dispose]();
  }

  #restoring() {
    return { skeleton: this.skeleton, state: this.#state!, files: this.#files!, notes: this.notes };
  }

  #closeUserfault(): void {
    if (this.#userfault >= 0) closeSync(this.#userfault);
    this.#userfault = -1;
  }
}

/** The state as a stand-in can have it: its own id, one thread, and no files, for opening them may be noticed. */
function played(state: State, pid: number): State {
  return {
    ...state,
    process: { ...state.process, pid },
    threads: state.threads.slice(0, 1).map((thread) => ({ ...thread, tid: pid })),
    files: { descriptions: [], descriptors: [] },
    pipes: [],
    memory: { ...state.memory, lockFuture: 'no' },
  };
}

/**
 * Both ends of a layout, the kernel's own mappings and the vdso that the program knows: enough for a stand-in, however
 * many mappings there are.
 */
function sample(layout: readonly Mapping[], vdso: bigint): readonly Mapping[] {
  const most = 256;
  const isNeeded = ({ kind, start, end }: Mapping) => kind === 'special' || (start <= vdso && vdso < end);
  return layout.filter((mapping, i) => i < most || i >= layout.length - most || isNeeded(mapping));
}

/** A mapping that takes no memory, however large it is. */
function weightless(mapping: Mapping): Mapping {
  return {
    ...mapping,
    noReserve: true,
    advice: mapping.advice.filter((flag) => flag !== 'lo' && flag !== 'lf'),
  };
}

/** A userfaultfd of the skeleton for pages that are still missing; see userfaultfd(2). */
function openUserfault(skeleton: Skeleton, ranges: readonly AddressRange[]): number {
  const closeOnExecNonBlocking = 0o2004000;
  const theirs = Number(skeleton.call('userfaultfd', syscalls.userfaultfd, closeOnExecNonBlocking));
  const ours = native.pidfdGetfd(skeleton.pidfd, theirs);
  const batch = new CallBatch();
  batch.add('close', syscalls.close, theirs);
  skeleton.run(batch);
  // A write of ours to a missing page must fail rather than wait for somebody to bring it.
  native.userfaultApi(ours, UserfaultFeature.sigbus);
  for (const { start, end } of ranges) native.userfaultRegister(ours, start, end, UserfaultMode.missing);
  return ours;
}
