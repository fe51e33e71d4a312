/** What a descriptor refers to, told from its mode, its link and its flags: inode(7), open(2). */
import { constants } from 'node:fs';
import { deviceNumbers, isMemoryDevice } from '../shared/memory-devices.js';
import type { OpenDescriptor } from './inspection.js';

export type DescriptorType =
  | 'file'
  | 'directory'
  | 'memory-device'
  | 'terminal'
  | 'device'
  | 'pipe'
  | 'fifo'
  | 'socket'
  | 'epoll'
  | 'other';

export const openFlags = {
  accessMode: 3,
  closeOnExec: 0o2000000,
  direct: 0o40000,
  async: 0o20000,
  path: 0o10000000,
} as const;

const terminalMajors: ReadonlySet<bigint> = new Set([
  4n,
  5n,
  ...Array.from({ length: 8 }, (_, i) => BigInt(136 + i)),
]);

export function typeOf(descriptor: OpenDescriptor): DescriptorType {
  switch (descriptor.mode & constants.S_IFMT) {
    case constants.S_IFREG:
      return 'file';
    case constants.S_IFDIR:
      return 'directory';
    case constants.S_IFCHR:
      return characterDevice(descriptor.specialDevice);
    case constants.S_IFIFO:
      return isPipe(descriptor) ? 'pipe' : 'fifo';
    case constants.S_IFSOCK:
      return 'socket';
    default:
      return descriptor.path === 'anon_inode:[eventpoll]' ? 'epoll' : 'other';
  }
}

function characterDevice(device: bigint): DescriptorType {
  if (isMemoryDevice(device)) return 'memory-device';
  return terminalMajors.has(deviceNumbers(device).major) ? 'terminal' : 'device';
}

export function isPipe({ path }: OpenDescriptor): boolean {
  return path.startsWith('pipe:[');
}

export function accessMode({ parsed }: OpenDescriptor): 'read' | 'write' | 'both' {
  return (['read', 'write', 'both', 'both'] as const)[parsed.flags & openFlags.accessMode]!;
}
