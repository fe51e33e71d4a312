/** What the source tells of the process before anything is done, and how both sides compare their files. */

import { readlinkSync } from 'node:fs';
import type { Blocker } from '../shared/errors.js';
import { digestOf } from '../shared/file-identity.js';
import { hostFacts } from '../shared/host-facts.js';
import type { FromSource, HostFacts, NeededFile } from '../shared/protocol/messages.js';
import { kindOf, stampOfPath } from './capture/memory.js';
import type { Conversation } from './conversation.js';
import { typeOf } from './descriptor-types.js';
import type { Inspection } from './inspection.js';

const answerMs = 30000;
/** Hashing what the other side asks for may take its time. */
const compareMs = 600000;

/** Exchanges what the hosts are. Returns the target's facts. */
export async function greet(conversation: Conversation): Promise<HostFacts> {
  const { host } = await conversation.ask({ type: 'hello', host: hostFacts() }, answerMs, 'hello');
  return host;
}

export interface OfferOptions {
  check: boolean;
  migration: string;
  stdio: string;
  compareContents: boolean;
}

export interface Judgement {
  /** Everything the target has against it. */
  blockers: readonly Blocker[];
  /** Paths that both hosts see as one inode: what is written to one is written to the other. */
  sameInode: ReadonlySet<string>;
}

/** Offers the process. */
export async function offer(
  conversation: Conversation,
  inspection: Inspection,
  files: NeededFile[],
  options: OfferOptions,
): Promise<Judgement> {
  const sameInode = new Set(files.map(({ path }) => path));
  conversation.say(offerOf(inspection, files, options));
  for (;;) {
    const answer = await conversation.expect(compareMs, 'identify', 'verdict');
    if (answer.type === 'verdict') return { blockers: answer.blockers as Blocker[], sameInode };
    const known = new Set(files.map(({ path }) => path));
    const asked = answer.paths.filter((path) => known.has(path));
    const digests = [];
    for (const path of asked) {
      sameInode.delete(path);
      digests.push({ path, sha256: await digestOf(path) });
    }
    conversation.say({ type: 'identities', files: digests });
  }
}

function offerOf(
  { process, view, vdso }: Inspection,
  files: NeededFile[],
  options: OfferOptions,
): FromSource {
  const { status } = view.leader;
  return {
    type: 'offer',
    ...options,
    name: status.name,
    ids: view.threads.map((thread) => thread.status.nsPid.at(-1)!),
    residentBytes: status.vmRssBytes + status.vmSwapBytes,
    files,
    effectiveUid: status.uids[1],
    hardLimits: process.limits().map(({ hard }) => hard),
    vdso,
  };
}

/** Every file whose content the process relies on. */
export function neededFiles({ process, mappings, descriptors }: Inspection): NeededFile[] {
  const needed = new Map<string, NeededFile>();
  const add = (path: string, directory: boolean) => {
    if (!needed.has(path)) needed.set(path, { path, stamp: stampOfPath(path), directory });
  };
  add(readlinkSync(`/proc/${process.pid}/exe`), false);
  add(readlinkSync(`/proc/${process.pid}/cwd`), true);
  add(readlinkSync(`/proc/${process.pid}/root`), true);
  for (const mapping of mappings) if (['file', 'shared'].includes(kindOf(mapping))) add(mapping.path, false);
  for (const descriptor of descriptors) {
    const type = typeOf(descriptor);
    if (type === 'file' || type === 'directory') add(descriptor.path, type === 'directory');
  }
  return [...needed.values()];
}
