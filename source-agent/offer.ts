/** What the source tells of the process before anything is done, and how both sides compare their files. */

import { readlinkSync } from 'node:fs';
import type { Blocker, ErrorCode } from '../shared/errors.js';
import { formFor, identityOf } from '../shared/file-identity.js';
import { sortOut } from '../shared/force.js';
import { clocksNow, hostFacts } from '../shared/host-facts.js';
import type { FromSource, HostFacts, NeededFile } from '../shared/protocol/messages.js';
import { kindOf, stampOfPath } from './capture/memory.js';
import { type ClockReadings, compareClocks } from './clock-comparison.js';
import type { Conversation } from './conversation.js';
import { typeOf } from './descriptor-types.js';
import type { Inspection } from './inspection.js';
import { needsOf } from './needs.js';

const answerMs = 30000;
/** Hashing what the other side asks for may take its time. */
const compareMs = 600000;

/** What the two hosts are, and what their clocks show. */
export interface Acquaintance {
  here: HostFacts;
  there: HostFacts;
  clocks: ClockReadings;
}

export async function greet(conversation: Conversation): Promise<Acquaintance> {
  const here = hostFacts();
  const asked = clocksNow();
  const hello = { type: 'hello', host: here, clocks: asked } as const;
  const { host: there, clocks: target } = await conversation.ask(hello, answerMs, 'hello');
  const clocks = { asked, target, answered: clocksNow(), sameKernel: here.bootId === there.bootId };
  return { here, there, clocks };
}

export interface OfferOptions {
  check: boolean;
  migration: string;
  stdio: string;
  compareContents: boolean;
  /** Codes that the user accepts. */
  force: readonly ErrorCode[];
}

export interface Judgement {
  /** Everything that the two hosts are told apart by, and that stands in the way. */
  blockers: readonly Blocker[];
  /** What would, and was accepted. */
  forced: readonly Blocker[];
  /** What else the user should know. */
  notes: readonly string[];
  /** Paths that both hosts see as one inode: what is written to one is written to the other. */
  sameInode: ReadonlySet<string>;
}

/** Offers the process. */
export async function offer(
  conversation: Conversation,
  { clocks }: Acquaintance,
  inspection: Inspection,
  files: NeededFile[],
  options: OfferOptions,
): Promise<Judgement> {
  const sameInode = new Set(files.map(({ path }) => path));
  const ours = compareClocks(clocks);
  const { blockers, forced } = sortOut(ours.blockers, options.force);
  conversation.say(offerOf(inspection, files, options));
  for (;;) {
    const answer = await conversation.expect(compareMs, 'identify', 'verdict');
    if (answer.type === 'verdict') {
      return {
        blockers: [...blockers, ...(answer.blockers as Blocker[])],
        forced: [...forced, ...(answer.forced as Blocker[])],
        notes: [...ours.notes, ...answer.notes],
        sameInode,
      };
    }
    const known = new Map(files.map((file) => [file.path, file]));
    const identities = [];
    for (const path of answer.paths) {
      const file = known.get(path);
      if (!file) continue;
      sameInode.delete(path);
      const form = formFor(file.stamp.size, file.mapped, options.compareContents);
      identities.push({ path, identity: await identityOf(path, form) });
    }
    conversation.say({ type: 'identities', files: identities });
  }
}

function offerOf(inspection: Inspection, files: NeededFile[], options: OfferOptions): FromSource {
  const { process, view, vdso } = inspection;
  const { status } = view.leader;
  return {
    type: 'offer',
    ...options,
    force: [...options.force],
    name: status.name,
    ids: view.threads.map((thread) => thread.status.nsPid.at(-1)!),
    needs: needsOf(inspection),
    files,
    effectiveUid: status.uids[1],
    hardLimits: process.limits().map(({ hard }) => hard),
    vdso,
  };
}

/** Every file whose content the process relies on. */
export function neededFiles({ process, mappings, descriptors }: Inspection): NeededFile[] {
  const needed = new Map<string, NeededFile>();
  const add = (path: string, directory: boolean, mapped = false) => {
    if (!needed.has(path)) needed.set(path, { path, stamp: stampOfPath(path), directory, mapped });
  };
  add(readlinkSync(`/proc/${process.pid}/exe`), false, true);
  add(readlinkSync(`/proc/${process.pid}/cwd`), true);
  add(readlinkSync(`/proc/${process.pid}/root`), true);
  for (const mapping of mappings)
    if (['file', 'shared'].includes(kindOf(mapping))) add(mapping.path, false, true);
  for (const descriptor of descriptors) {
    const type = typeOf(descriptor);
    if (type === 'file' || type === 'directory') add(descriptor.path, type === 'directory');
  }
  return [...needed.values()];
}
