/** `migrate check`: everything that stands in the way, on both sides, without touching the process. */
import type { Blocker } from '../shared/errors.js';
import { detectImpossible } from './blockers.js';
import { Conversation } from './conversation.js';
import { newMigrationId } from './migration-id.js';
import { greet, neededFiles, offer } from './offer.js';
import type { MigrationOptions } from './options.js';
import { SourceProcess } from './source-process.js';
import { lookSteadily } from './steady-look.js';

export interface CheckOptions extends Pick<MigrationOptions, 'pid' | 'stdio' | 'compareContents' | 'force'> {
  target: MigrationOptions['target'] | null;
  secret: MigrationOptions['secret'] | null;
}

export interface CheckResult {
  blockers: readonly Blocker[];
  /** What would stand in the way, and is accepted by --force. */
  forced: readonly Blocker[];
  notes: readonly string[];
  /** What no look from outside can tell. */
  onlyAttemptTells: readonly string[];
}

const onlyAttemptTells = [
  'whether all threads stop in time (a vfork in progress or an uninterruptible sleep holds them)',
  "whether a thread has asked for a signal at its parent's death (PR_SET_PDEATHSIG)",
  'whether the program uses userfaultfd or another tracker on its memory',
  'memory-deny-write-execute, a memory-failure policy, a trapping time-stamp counter (prctl settings)',
  'whether its alternate signal stacks hold the larger signal frames of a target with a larger CPU',
  'what the program opens, maps or starts during the rounds',
] as const;

/** Throws MigrationError where there is nothing to look at, or the target cannot be asked. */
export async function check(options: CheckOptions): Promise<CheckResult> {
  const impossible = detectImpossible(options.pid);
  if (impossible.length > 0) return { blockers: impossible, forced: [], notes: [], onlyAttemptTells };
  using process = SourceProcess.open(options.pid);
  const { inspection, blockers } = await lookSteadily(process);
  const forced: Blocker[] = [];
  const notes: string[] = [];
  if (options.target && options.secret) {
    await using conversation = await Conversation.open({ target: options.target, secret: options.secret });
    const acquaintance = await greet(conversation);
    // Files that are gone are among the blockers already, and have no stamp.
    const files = blockers.some(({ code }) => code === 'mapping-deleted' || code === 'file-deleted')
      ? []
      : neededFiles(inspection);
    const offered = {
      check: true,
      migration: newMigrationId(),
      stdio: options.stdio,
      compareContents: options.compareContents,
      force: options.force,
    };
    const judgement = await offer(conversation, acquaintance, inspection, files, offered);
    blockers.push(...judgement.blockers);
    forced.push(...judgement.forced);
    notes.push(...judgement.notes);
  }
  return { blockers, forced, notes, onlyAttemptTells };
}
