import { closeSync, readFileSync, statSync } from 'node:fs';
import { native } from '../../native/index.js';
import { type Blocker, MigrationError } from '../../shared/errors.js';
import { parseMountinfo } from '../../shared/proc/mountinfo.js';
import type { Description, FileStamp, FilesState } from '../../shared/state/files.js';
import { accessMode, isPipe, openFlags, typeOf } from '../descriptor-types.js';
import type { OpenDescriptor } from '../inspection.js';
import type { PipeCensus } from '../pipe-census.js';
import type { Capture, Captured } from './kind.js';
import { insidePipes } from './pipes.js';

const standardStreams = 3;
const fcntl = { getOwner: 9, getSignal: 11, getLease: 1025 } as const;
const noLease = 2; // F_UNLCK
const kcmpFile = 0;

/** File systems whose files are files: others make up their content (proc, sysfs ...). */
const fileSystems =
  /^(ext[234]|xfs|btrfs|overlay|tmpfs|ramfs|rootfs|zfs|f2fs|nfs4?|cifs|smb3|9p|virtiofs|vfat|exfat|ntfs3|erofs|squashfs|iso9660|ceph|gfs2|ocfs2|bcachefs|fuse(\..+)?|fuseblk)$/;

export const captureFiles: Capture<'files'> = {
  detect({ process, descriptors }, pipes) {
    const mounts = fileSystemsOfMounts();
    return descriptors.flatMap((descriptor) => {
      const blocker = (code: Blocker['code'], what: string): Blocker => ({
        code,
        what,
        pid: process.pid,
        object: `descriptor ${descriptor.fd}`,
      });
      const reason =
        refusal(descriptor, descriptors, pipes, mounts) ?? ownerRefusal(process.pidfd, descriptor);
      return reason ? [blocker(...reason)] : [];
    });
  },

  capture(captured) {
    return () => stateOf(captured);
  },
};

function stateOf({ frozen, descriptors, pipes }: Captured): FilesState {
  const outside = (descriptor: OpenDescriptor) => leadsOut(descriptor, pipes);
  const standard = (descriptor: OpenDescriptor) => isStandardStream(descriptor, descriptors, pipes);
  const pipeNumbers = new Map(insidePipes(descriptors, outside).map((ends, i) => [ends[0]!.inode, i]));
  const descriptions: Description[] = [];
  const representatives: OpenDescriptor[] = [];
  const numbered: FilesState['descriptors'] = [];
  for (const descriptor of descriptors) {
    let index = representatives.findIndex((other) =>
      isSameDescription(frozen.process.pid, other, descriptor),
    );
    if (index < 0) {
      index = descriptions.length;
      representatives.push(descriptor);
      descriptions.push(describe(descriptor, pipeNumbers, outside, standard, frozen.process.pid));
    }
    numbered.push({
      fd: descriptor.fd,
      description: index,
      closeOnExec: (descriptor.parsed.flags & openFlags.closeOnExec) !== 0,
    });
  }
  return { descriptions, descriptors: numbered };
}

let mountsKnown: { text: string; types: ReadonlyMap<number, string> } = { text: '', types: new Map() };

/** The type of file system of each mount. Parsed again only when the mounts changed: it is asked for in the freeze. */
function fileSystemsOfMounts(): ReadonlyMap<number, string> {
  const text = readFileSync('/proc/self/mountinfo', 'utf8');
  if (text !== mountsKnown.text) {
    mountsKnown = { text, types: new Map(parseMountinfo(text).map(({ id, fsType }) => [id, fsType])) };
  }
  return mountsKnown.types;
}

type Reason = [Blocker['code'], string];

function refusal(
  descriptor: OpenDescriptor,
  all: readonly OpenDescriptor[],
  pipes: PipeCensus,
  mounts: ReadonlyMap<number, string>,
): Reason | null {
  const { path, parsed } = descriptor;
  if (isStandardStream(descriptor, all, pipes)) return null;
  if (parsed.flags & openFlags.async) return ['descriptor-owner', `${path} is open with O_ASYNC`];
  if (parsed.flags & openFlags.path) return ['descriptor-kind', `${path} is open with O_PATH`];
  switch (typeOf(descriptor)) {
    case 'file':
    case 'directory': {
      const unknown = Object.keys(parsed.extra);
      if (unknown.length > 0) return ['unknown-state', `${path} shows ${unknown.join(', ')} in its fdinfo`];
      if (parsed.locks.length > 0) return ['file-locked', `${path} is locked by the process`];
      const fileSystem = mounts.get(parsed.mountId) ?? 'unknown';
      if (!fileSystems.test(fileSystem))
        return ['descriptor-kind', `${path} lies on a ${fileSystem} file system`];
      if (parsed.flags & openFlags.direct) {
        return ['descriptor-kind', `${path} is open with O_DIRECT, whose reads no tracker sees`];
      }
      return isSameFile(descriptor) ? null : ['file-deleted', `${path} was deleted or replaced`];
    }
    case 'memory-device':
      return isSameFile(descriptor) ? null : ['file-deleted', `the device ${path} was deleted`];
    case 'pipe':
      if (parsed.flags & openFlags.direct) return ['descriptor-kind', `${path} is in packet mode (O_DIRECT)`];
      if (accessMode(descriptor) === 'both')
        return ['descriptor-kind', `${path} is open for both directions`];
      return leadsOut(descriptor, pipes) ? ['pipe-leads-out', `${path} leads out of the process`] : null;
    case 'epoll': {
      const lost = watchesOf(descriptor).find((watch) => !watchedFd(watch, all));
      return lost ? ['descriptor-kind', `epoll watches descriptor ${lost.fd}, which is closed`] : null;
    }
    default:
      return [
        'descriptor-kind',
        `${path} is a ${typeOf(descriptor)}`.replace('a other', 'of a kind that is not carried'),
      ];
  }
}

/** Who gets signals about it: only the descriptor itself can say. */
function ownerRefusal(pidfd: number, descriptor: OpenDescriptor): Reason | null {
  const { fd, path } = descriptor;
  let copy: number;
  try {
    copy = native.pidfdGetfd(pidfd, fd);
  } catch {
    return null; // closed meanwhile
  }
  try {
    const ask = (command: number): number => {
      try {
        return native.fcntl(copy, command, 0);
      } catch {
        return 0; // O_PATH descriptors and those without such a notion
      }
    };
    if (ask(fcntl.getOwner) !== 0) return ['descriptor-owner', `${path} has an owner for signals (F_SETOWN)`];
    if (ask(fcntl.getSignal) !== 0) return ['descriptor-owner', `${path} has a signal of its own (F_SETSIG)`];
    // Nothing but a regular file can be leased; an error for the others would cost time in the freeze.
    const lease = typeOf(descriptor) === 'file' ? ask(fcntl.getLease) : noLease;
    if (lease !== noLease) return ['descriptor-owner', `${path} is leased (F_SETLEASE)`];
    return null;
  } finally {
    closeSync(copy);
  }
}

/**
 * True for descriptors 0 to 2, and others of the same object, that are a terminal, a socket or a pipe whose other end
 * belongs to somebody else: `--stdio` says what becomes of them.
 */
export function isStandardStream(
  descriptor: OpenDescriptor,
  all: readonly OpenDescriptor[],
  pipes: PipeCensus,
): boolean {
  if (!['terminal', 'pipe', 'socket'].includes(typeOf(descriptor))) return false;
  const standard = all.some(
    (other) =>
      other.fd < standardStreams && other.inode === descriptor.inode && other.device === descriptor.device,
  );
  return standard && (!isPipe(descriptor) || leadsOut(descriptor, pipes));
}

/** True when somebody outside holds an end of this pipe. An end that nobody holds is closed, here as there. */
export function leadsOut(descriptor: OpenDescriptor, pipes: PipeCensus): boolean {
  return isPipe(descriptor) && pipes.isHeldOutside(descriptor.inode);
}

function isSameDescription(pid: number, a: OpenDescriptor, b: OpenDescriptor): boolean {
  return (
    a.inode === b.inode &&
    a.device === b.device &&
    a.parsed.position === b.parsed.position &&
    native.kcmp(pid, pid, kcmpFile, a.fd, b.fd) === 0
  );
}

function describe(
  descriptor: OpenDescriptor,
  pipeNumbers: ReadonlyMap<bigint, number>,
  isOutside: (descriptor: OpenDescriptor) => boolean,
  isStandard: (descriptor: OpenDescriptor) => boolean,
  pid: number,
): Description {
  const { path, parsed } = descriptor;
  const flags = (parsed.flags & ~openFlags.closeOnExec) >>> 0;
  const type = typeOf(descriptor);
  switch (type) {
    case 'file':
    case 'directory':
      return { kind: type, path, flags, position: parsed.position, stamp: stampOf(descriptor) };
    case 'memory-device':
      return { kind: 'device', path, flags };
    case 'epoll':
      return {
        kind: 'epoll',
        flags,
        watches: watchesOf(descriptor).map(({ fd, events, data }) => ({ fd, events, data })),
      };
    case 'pipe':
      if (!isStandard(descriptor)) {
        if (isOutside(descriptor)) throw appeared(descriptor, pid);
        const end = accessMode(descriptor) === 'read' ? 'read' : 'write';
        return { kind: 'pipe', pipe: pipeNumbers.get(descriptor.inode)!, end, flags };
      }
      return { kind: 'stream', direction: directionOf(descriptor), flags };
    case 'terminal':
    case 'socket':
      if (isStandard(descriptor)) return { kind: 'stream', direction: directionOf(descriptor), flags };
      throw appeared(descriptor, pid);
    default:
      throw appeared(descriptor, pid);
  }
}

function appeared({ fd, path }: OpenDescriptor, pid: number): MigrationError {
  const what = `descriptor ${fd} (${path}) appeared during the rounds and is not carried`;
  return new MigrationError('descriptor-kind', what, { pid, object: `descriptor ${fd}` });
}

function directionOf(descriptor: OpenDescriptor): 'in' | 'out' {
  const mode = accessMode(descriptor);
  if (mode === 'both') return descriptor.fd === 0 ? 'in' : 'out';
  return mode === 'read' ? 'in' : 'out';
}

export function stampOf(
  file: Pick<OpenDescriptor, 'device' | 'inode' | 'size' | 'modified' | 'changed'>,
): FileStamp {
  const { device, inode, size, modified, changed } = file;
  return { device, inode, size, modified, changed };
}

function isSameFile({ path, device, inode }: OpenDescriptor): boolean {
  const there = path.startsWith('/') ? statSync(path, { bigint: true, throwIfNoEntry: false }) : undefined;
  return there !== undefined && there.dev === device && there.ino === inode;
}

interface Watch {
  fd: number;
  events: number;
  data: bigint;
  inode: bigint;
}

/** The "tfd:" lines of an epoll's fdinfo: fs/eventpoll.c, ep_show_fdinfo(). Numbers are hexadecimal but for tfd. */
function watchesOf({ parsed }: OpenDescriptor): Watch[] {
  return (parsed.extra.tfd ?? []).map((line) => {
    const match = /^\s*(\d+) events:\s*([0-9a-f]+) data:\s*([0-9a-f]+)\s+pos:\S+ ino:([0-9a-f]+) sdev:/.exec(
      line,
    );
    if (!match) throw new MigrationError('unknown-state', `an epoll shows "tfd:${line}" in its fdinfo`);
    return {
      fd: Number(match[1]),
      events: Number.parseInt(match[2]!, 16),
      data: BigInt(`0x${match[3]}`),
      inode: BigInt(`0x${match[4]}`),
    };
  });
}

// What epoll watches is the file behind the number at the time; the number may mean another one by now.
function watchedFd(watch: Watch, all: readonly OpenDescriptor[]): OpenDescriptor | undefined {
  return all.find(({ fd, inode }) => fd === watch.fd && inode === watch.inode);
}
