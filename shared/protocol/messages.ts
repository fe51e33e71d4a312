/**
 * What the agents say to each other over the control channel, in the order of the walk (ARCHITECTURE.md). State goes
 * from the source to the target; decisions go both ways. Every message is validated where it arrives.
 */
import * as v from 'valibot';
import { catalogue, type ErrorCode } from '../errors.js';
import { FileStamp } from '../state/files.js';
import { CompleteState, PartialState } from '../state/index.js';
import { Mappings } from '../state/memory.js';
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

const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const milliseconds = v.pipe(v.number(), v.minValue(0));
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
  cpuFeatures: list(v.pipe(v.string(), v.maxLength(64)), 1024),
  /** MemAvailable */
  memoryBytes: count,
});
export type HostFacts = v.InferOutput<typeof HostFacts>;

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

/** A file that must be the same on both sides. */
export const NeededFile = v.strictObject({ path, stamp: FileStamp, directory: v.boolean() });
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

const Hello = v.strictObject({ type: v.literal('hello'), host: HostFacts });

const Offer = v.strictObject({
  type: v.literal('offer'),
  /** Only list what stands in the way: `migrate check`. */
  check: v.boolean(),
  migration: v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/)),
  name: text,
  /** All ids the process and its threads need. */
  ids: list(pid, 1 << 16),
  residentBytes: count,
  files: list(NeededFile, 1 << 16),
  /** Compare contents even where both sides see the same inode. */
  compareContents: v.boolean(),
  effectiveUid: uint32,
  hardLimits: list(word, 16),
  /** Where standard streams that lead out go: log, null or a path. */
  stdio: text,
  /** Null where the program has unmapped it. */
  vdso: v.nullable(ProgramVdso),
});

const Identities = v.strictObject({
  type: v.literal('identities'),
  files: list(v.strictObject({ path, sha256: v.nullable(digest) }), 1 << 16),
});

const Build = v.strictObject({ type: v.literal('build'), mappings: Mappings, state: CompleteState });

/** The mappings changed: the whole new list. */
const Layout = v.strictObject({ type: v.literal('layout'), mappings: Mappings });

/** All page frames of a round have been sent: `frames` on the page channel since it opened. */
const Round = v.strictObject({ type: v.literal('round'), number: count, frames: count });

const Settle = v.strictObject({ type: v.literal('settle'), frames: count, state: PartialState });

/**
 * In the freeze: what differs from what was settled, packed (shared/state/packed.ts), so that the part of the target that
 * passes it on need not take it apart. Nothing is answered: the last pages are still on their way.
 */
const Adjust = v.strictObject({ type: v.literal('adjust'), state: bytes(maxMessageBytes) });

const Finish = v.strictObject({
  type: v.literal('finish'),
  frames: count,
  /** Pages sent before that the program has dropped since. */
  dropped: Ranges,
  /** Files whose stamp changed since preflight, with their content now. */
  changedFiles: list(v.strictObject({ path, size: word, sha256: digest }), 1 << 16),
  /** Null where no thread is inside. */
  vdso: v.nullable(UnfinishedVdso),
});

/** What the freeze will look like: the target goes through it with a stand-in, so that nothing in it is done for the first time. */
const Rehearse = v.strictObject({ ...Finish.entries, type: v.literal('rehearse'), state: PartialState });

const Commit = v.strictObject({ type: v.literal('commit') });
const Abort = v.strictObject({ type: v.literal('abort'), reason: text });

export const FromSource = v.variant('type', [
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
  Abort,
]);
export type FromSource = v.InferOutput<typeof FromSource>;

/** Send the content hashes of these files: they cannot be told to be the same by their inode. */
const Identify = v.strictObject({ type: v.literal('identify'), paths: list(path, 1 << 16) });
const Verdict = v.strictObject({ type: v.literal('verdict'), blockers: list(FoundBlocker, 1 << 16) });
/** The skeleton stands; its pid as the target's agent sees it. */
const Built = v.strictObject({ type: v.literal('built'), pid });
const Applied = v.strictObject({ type: v.literal('applied') });
const Landed = v.strictObject({ type: v.literal('landed'), number: count, pages: count, zeroPages: count });
const Settled = v.strictObject({ type: v.literal('settled') });
const Rehearsed = v.strictObject({ type: v.literal('rehearsed'), phases: Phases });
const Prepared = v.strictObject({ type: v.literal('prepared'), phases: Phases });
const Running = v.strictObject({
  type: v.literal('running'),
  pid,
  phases: Phases,
  notes: list(text, 64),
  log: v.nullable(path),
});
const Failed = v.strictObject({ type: v.literal('failed'), ...FoundBlocker.entries });
const Aborted = v.strictObject({ type: v.literal('aborted') });

export const FromTarget = v.variant('type', [
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
]);
export type FromTarget = v.InferOutput<typeof FromTarget>;
