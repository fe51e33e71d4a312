import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { MigrationError } from '../../shared/errors.js';
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { namedIds, parseStatus } from '../../shared/proc/status.js';
import type { CredentialsState } from '../../shared/state/credentials.js';
import type { Skeleton } from '../skeleton.js';
import type { Restore } from './kind.js';

const prctl = {
  setKeepCapabilities: 8,
  boundingDrop: 24,
  setSecurebits: 28,
  getDumpable: 3,
  setDumpable: 4,
  getSecurebits: 27,
  setNoNewPrivileges: 38,
  ambient: 47,
} as const;
const ambient = { raise: 2, clearAll: 4 } as const;
const capabilityVersion3 = 0x20080522;
const capabilities = 64n;
/** Scratch layout: groups from 0, the capability header and data behind them. */
const mostGroups = 0x2000;
const headerOffset = mostGroups * 4;
const dataOffset = headerOffset + 16;

/**
 * Who it is comes last of all: with the rights it has at home it could not be restored. Each thread has its own
 * credentials (credentials(7)), so each does it for itself.
 */
export const restoreCredentials: Restore = {
  settle({ skeleton }) {
    born.set(skeleton, identityOf(skeleton));
  },
  finish({ skeleton, state: { credentials, process } }) {
    // Much of the time of a freeze on the target: 0.1 to 0.3 ms for each thread.
    if (isDeepStrictEqual(born.get(skeleton), { ...credentials, dumpable: process.dumpable })) return;
    for (const tid of skeleton.threads.values()) become(skeleton, tid, credentials, process.dumpable);
  },
};

/** Who a skeleton is by birth, and all of its threads: often that is who it is to be. */
const born = new WeakMap<Skeleton, CredentialsState & { dumpable: number }>();

function identityOf(skeleton: Skeleton) {
  const { uids, gids, groups, capabilities, noNewPrivs } = parseStatus(
    readFileSync(`/proc/${skeleton.pid}/status`, 'utf8'),
  );
  const batch = new CallBatch();
  const securebits = batch.add('prctl(PR_GET_SECUREBITS)', syscalls.prctl, prctl.getSecurebits);
  const dumpable = batch.add('prctl(PR_GET_DUMPABLE)', syscalls.prctl, prctl.getDumpable);
  skeleton.run(batch);
  return {
    uids: namedIds(uids),
    gids: namedIds(gids),
    groups,
    ...capabilities,
    securebits: Number(batch.result(securebits)),
    noNewPrivileges: noNewPrivs,
    dumpable: Number(batch.result(dumpable)),
  };
}

function become(skeleton: Skeleton, tid: number, state: CredentialsState, dumpable: 0 | 1 | 2): void {
  if (state.groups.length > mostGroups) {
    const what = `the process is in ${state.groups.length} groups; no more than ${mostGroups} can be given`;
    throw new MigrationError('identity-refused', what, { object: 'supplementary groups' });
  }
  const groups = Buffer.alloc(state.groups.length * 4);
  state.groups.forEach((group, i) => {
    groups.writeUInt32LE(group, i * 4);
  });
  const groupsAt = skeleton.put(groups);
  const header = Buffer.alloc(8);
  header.writeUInt32LE(capabilityVersion3);
  const headerAt = skeleton.put(header, headerOffset);
  const dataAt = skeleton.put(capabilityData(state), dataOffset);

  const { uids, gids } = state;
  const batch = new CallBatch();
  batch.add('setgroups', syscalls.setgroups, state.groups.length, groupsAt);
  batch.add('setresgid', syscalls.setresgid, gids.real, gids.effective, gids.saved);
  batch.add('setfsgid', syscalls.setfsgid, gids.fileSystem);
  // Dropping from the bounding set takes CAP_SETPCAP, leaving root must not lose the permitted set.
  const dropped: number[] = [];
  for (let bit = 0n; bit < capabilities; bit += 1n) {
    if ((state.bounding >> bit) & 1n) continue;
    dropped.push(batch.add('prctl(PR_CAPBSET_DROP)', syscalls.prctl, prctl.boundingDrop, bit, 0, 0, 0));
  }
  batch.add('prctl(PR_SET_KEEPCAPS)', syscalls.prctl, prctl.setKeepCapabilities, 1, 0, 0, 0);
  batch.add('setresuid', syscalls.setresuid, uids.real, uids.effective, uids.saved);
  // Leaving user 0 with the keep flag clears the effective set only, and setfsuid needs CAP_SETUID in it.
  const everything = fullOf(state);
  const fullAt = skeleton.put(capabilityData(everything), dataOffset + 64);
  const raised = batch.add('capset', syscalls.capset, headerAt, fullAt);
  batch.add('setfsuid', syscalls.setfsuid, uids.fileSystem);
  batch.add('prctl(PR_SET_SECUREBITS)', syscalls.prctl, prctl.setSecurebits, state.securebits, 0, 0, 0);
  batch.add('capset', syscalls.capset, headerAt, dataAt);
  const cleared = batch.add(
    'prctl(PR_CAP_AMBIENT_CLEAR_ALL)',
    syscalls.prctl,
    prctl.ambient,
    ambient.clearAll,
    0,
    0,
    0,
  );
  for (let bit = 0n; bit < capabilities; bit += 1n) {
    if ((state.ambient >> bit) & 1n)
      batch.add('prctl(PR_CAP_AMBIENT_RAISE)', syscalls.prctl, prctl.ambient, ambient.raise, bit, 0, 0);
  }
  if (state.noNewPrivileges)
    batch.add('prctl(PR_SET_NO_NEW_PRIVS)', syscalls.prctl, prctl.setNoNewPrivileges, 1, 0, 0, 0);
  // Changing ids has reset it for all threads. The value 2 follows from the ids and cannot be asked for.
  if (dumpable !== 2) {
    batch.add('prctl(PR_SET_DUMPABLE)', syscalls.prctl, prctl.setDumpable, dumpable, 0, 0, 0);
  }
  skeleton.run(batch, tid);
  // Numbers beyond the kernel's last capability are EINVAL; setfs[ug]id return the old id.
  batch.check((index) => dropped.includes(index) || index === cleared || index === raised);
}

function fullOf(state: CredentialsState): CredentialsState {
  const setpcap = 1n << 8n;
  const setuid = 1n << 7n;
  return {
    ...state,
    effective: state.effective | setpcap | setuid,
    permitted: state.permitted | setpcap | setuid,
  };
}

function capabilityData({ effective, permitted, inheritable }: CredentialsState): Buffer {
  const low = (set: bigint) => Number(set & 0xffffffffn);
  const high = (set: bigint) => Number(set >> 32n);
  const data = Buffer.alloc(24);
  [
    low(effective),
    low(permitted),
    low(inheritable),
    high(effective),
    high(permitted),
    high(inheritable),
  ].forEach((word, i) => {
    data.writeUInt32LE(word, i * 4);
  });
  return data;
}
