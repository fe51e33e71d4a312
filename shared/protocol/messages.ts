/**
 * What the agents say to each other over the control channel, in the order of the walk (ARCHITECTURE.md). State goes
 * from the source to the target; decisions go both ways. Every message is validated where it arrives.
 */
import * as v from 'valibot';
import { catalogue, type ErrorCode } from '../errors.js';
import { Splice } from '../layout-splices.js';
import { FileStamp } from '../state/files.js';
import { CompleteState, PartialState } from '../state/index.js';
import { Mappings, maxMappings } from '../state/memory.js';
import {
  address,
  bytes,
  count,
  int32,
  list,
  pageAddress,
  path,
  pid,
  text,
  uint32,
  word,
} from '../state/values.js';
import { maxMessageBytes } from './codec.js';
import { messageSet } from './message-set.js';

const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const milliseconds = v.pipe(v.number(), v.minValue(0));
export const migration = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/));
/** A freeze of a migration: see shared/commit/index.ts. */
const epoch = v.pipe(uint32, v.minValue(1));
const errorCode = v.picklist(Object.keys(catalogue) as [ErrorCode, ...ErrorCode[]]);

/** What one host tells of itself: see shared/host-facts.ts. */
export const HostFacts = v.strictObject({
  product: text,
  architecture: text,
  kernelRelease: text,
  hostname: text,
  bootId: text,
  pageBytes: count,
  /** Hash of the vdso's bytes: where it differs, the program's entry points are led to the target's. */
  vdso: digest,
  /** Names of what programs may use, as CPUID tells them: shared/cpu-features.ts. */
  cpuFeatures: list(v.pipe(v.string(), v.maxLength(64)), 1024),
  /** Where the components of the extended state lie in XSAVE's standard format. */
  extendedStates: list(
    v.strictObject({ component: uint32, offset: uint32, bytes: uint32, dynamic: v.boolean() }),
    63,
  ),
  /** One more than the highest number a CPU can have. */
  possibleCpus: count,
  /** AT_RSEQ_FEATURE_SIZE: how much of struct rseq the kernel fills. */
  rseqFeatureBytes: count,
  clocksource: text,
  /** Of the time-stamp counter; null where the kernel does not trust it. */
  tscKilohertz: v.nullable(count),
  /** Transparent huge pages: always, madvise or never. */
  hugePages: text,
});
export type HostFacts = v.InferOutput<typeof HostFacts>;

/** What the clocks of a host show when its hello is written. */
export const Clocks = v.strictObject({ realtimeNs: word, monotonicNs: word, boottimeNs: word });
export type Clocks = v.InferOutput<typeof Clocks>;

/** The vdso a program holds pointers into: see shared/vdso.ts. */
export const ProgramVdso = v.strictObject({
  /** Where the program's pointers lead. */
  start: address,
  /** What lies there. */
  image: bytes(1 << 16),
  /** Hash of the vdso of the kernel it runs on, as the program sees it. */
  kernel: digest,
});
export type ProgramVdso = v.InferOutput<typeof ProgramVdso>;

/** What threads need that were stopped inside of a vdso which the target does not have: see source-agent/vdso-exit.ts. */
export const UnfinishedVdso = v.strictObject({
  /** The kernel's own code and data in the program: it is there while they finish, and no longer. */
  memory: list(v.strictObject({ start: pageAddress, bytes: bytes(1 << 16) }), 64),
  /** The time stamp counter of the source. */
  timeStamp: word,
});
export type UnfinishedVdso = v.InferOutput<typeof UnfinishedVdso>;

/** A file that must be the same on both sides. `mapped`: its code or data is part of the program's memory. */
export const NeededFile = v.strictObject({
  path,
  stamp: FileStamp,
  directory: v.boolean(),
  mapped: v.boolean(),
});
export type NeededFile = v.InferOutput<typeof NeededFile>;

const Range = v.pipe(
  v.strictTuple([pageAddress, pageAddress]),
  v.check(([start, end]) => start < end, 'empty range'),
);
const Ranges = list(Range, 1 << 20);

export const FoundBlocker = v.strictObject({
  code: errorCode,
  what: text,
  phase: v.optional(text),
  pid: v.optional(int32),
  tid: v.optional(int32),
  object: v.optional(text),
});

export const Phases = v.record(v.pipe(v.string(), v.maxLength(32)), milliseconds);

const Hello = v.strictObject({ type: v.literal('hello'), host: HostFacts, clocks: Clocks });

/** What the process takes of a host. */
export const Needs = v.strictObject({
  /** Memory of its own, in RAM or swap, and its page tables. */
  privateBytes: count,
  /** What strict overcommit would count, and the largest single mapping of it. */
  accountedBytes: count,
  largestAccountedBytes: count,
  mappings: count,
  lowestAddress: address,
});
export type Needs = v.InferOutput<typeof Needs>;

const Offer = v.strictObject({
  type: v.literal('offer'),
  /** Only list what stands in the way: `migrate check`. */
  check: v.boolean(),
  migration,
  name: text,
  /** All ids the process and its threads need. */
  ids: list(pid, 1 << 16),
  needs: Needs,
  files: list(NeededFile, 1 << 16),
  /** Compare contents even where both sides see the same inode. */
  compareContents: v.boolean(),
  /** Codes that the source's user accepts: see shared/force.ts. */
  force: list(errorCode, 64),
  effectiveUid: uint32,
  hardLimits: list(word, 16),
  /** Where standard streams that lead out go: log, null or a path. */
  stdio: text,
  /** Null where the program has unmapped it. */
  vdso: v.nullable(ProgramVdso),
});

/** What tells a file's content: see shared/file-identity.ts. */
const Identity = v.pipe(v.string(), v.regex(/^(sha256:[0-9a-f]{64}|build-id:([0-9a-f]{2}){1,64})$/));

const Identities = v.strictObject({
  type: v.literal('identities'),
  files: list(v.strictObject({ path, identity: v.nullable(Identity) }), 1 << 16),
});

const Build = v.strictObject({ type: v.literal('build'), mappings: Mappings, state: CompleteState });

/** The mappings changed. */
const Layout = v.strictObject({ type: v.literal('layout'), splices: list(Splice, maxMappings) });

/** All page frames of a round have been sent: `frames` on the page channel since it opened. */
const Round = v.strictObject({ type: v.literal('round'), number: count, frames: count });

const Settle = v.strictObject({
  type: v.literal('settle'),
  frames: count,
  state: PartialState,
  /** Memory that was in huge pages before it was tracked. */
  huge: Ranges,
});

/**
 * In the freeze: what differs from what was settled, packed (shared/state/packed.ts), so that the part of the target that
 * passes it on need not take it apart.
 */
const difference = bytes(maxMessageBytes);

/** Ahead of `finish`, where the last pages are still on their way. Nothing is answered. */
const Adjust = v.strictObject({ type: v.literal('adjust'), state: difference });

/** The rest of a freeze. */
const freeze = {
  /** Null where `adjust` has said it. */
  state: v.nullable(difference),
  frames: count,
  /** Pages sent before that the program has dropped since. */
  dropped: Ranges,
  /** Guard regions: madvise(2), MADV_GUARD_INSTALL. */
  guards: Ranges,
  /** Files whose stamp changed since preflight, with their content now. */
  changedFiles: list(v.strictObject({ path, size: word, sha256: digest }), 1 << 16),
  /** Null where no thread is inside. */
  vdso: v.nullable(UnfinishedVdso),
};

/** All of this freeze has been sent: the hand-over's `prepare`. */
const Finish = v.strictObject({ type: v.literal('finish'), epoch, ...freeze });

/** What the freeze will look like: the target goes through it with a stand-in, so that nothing in it is done for the first time. */
const Rehearse = v.strictObject({ ...freeze, type: v.literal('rehearse'), state: PartialState });

// The words of the hand-over, as shared/commit/index.ts has them; each may be repeated.
export const Commit = v.strictObject({ type: v.literal('commit'), migration, epoch });
export const Withdraw = v.strictObject({ type: v.literal('withdraw'), migration });
export const Abort = v.strictObject({ type: v.literal('abort'), migration, reason: text });
export const Over = v.strictObject({ type: v.literal('over'), migration });
/** In the place of an offer: this session is about a hand-over that another one began. */
export const Recall = v.strictObject({ type: v.literal('recall'), migration });

export const FromSource = messageSet(
  Hello,
  Offer,
  Identities,
  Build,
  Layout,
  Round,
  Settle,
  Rehearse,
  Adjust,
  Finish,
  Commit,
  Withdraw,
  Abort,
  Over,
  Recall,
);
export type FromSource = v.InferOutput<typeof FromSource>;

/** Send the content hashes of these files: they cannot be told to be the same by their inode. */
const Identify = v.strictObject({ type: v.literal('identify'), paths: list(path, 1 << 16) });
const Verdict = v.strictObject({
  type: v.literal('verdict'),
  blockers: list(FoundBlocker, 1 << 17),
  /** What would stand in the way and was accepted. */
  forced: list(FoundBlocker, 1 << 17),
  /** What the user should know. */
  notes: list(text, 64),
});
/** The skeleton stands; its pid as the target's agent sees it. */
const Built = v.strictObject({ type: v.literal('built'), pid });
const Applied = v.strictObject({ type: v.literal('applied') });
const Landed = v.strictObject({ type: v.literal('landed'), number: count, pages: count, zeroPages: count });
const Settled = v.strictObject({ type: v.literal('settled') });
const Rehearsed = v.strictObject({ type: v.literal('rehearsed'), phases: Phases });
/** `phases`: empty where it is said again. */
const Prepared = v.strictObject({ type: v.literal('prepared'), epoch, phases: Phases });

/** How a process ended by itself: one of both is null. */
export const HowEnded = v.strictObject({ code: v.nullable(int32), signal: v.nullable(int32) });
export type HowEnded = v.InferOutput<typeof HowEnded>;

const Running = v.strictObject({
  type: v.literal('running'),
  migration,
  /** As the target's agent sees it. */
  pid,
  /** Null while it runs; both null in it where nobody saw how it ended. */
  ended: v.nullable(HowEnded),
  /** Empty where it is said again. */
  phases: Phases,
  notes: list(text, 64),
  log: v.nullable(path),
});
const Failed = v.strictObject({ type: v.literal('failed'), ...FoundBlocker.entries });
/** `what`: why, where that was the target's own doing after it had said `prepared`. */
const Aborted = v.strictObject({ type: v.literal('aborted'), migration, what: v.nullable(text) });
const Lost = v.strictObject({ type: v.literal('lost'), migration });
const Unknown = v.strictObject({ type: v.literal('unknown'), migration });

export const FromTarget = messageSet(
  Hello,
  Identify,
  Verdict,
  Built,
  Applied,
  Landed,
  Settled,
  Rehearsed,
  Prepared,
  Running,
  Failed,
  Aborted,
  Lost,
  Unknown,
);
export type FromTarget = v.InferOutput<typeof FromTarget>;
