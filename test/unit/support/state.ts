/** A complete state of a small made-up process: fixed, so that its bytes can be recorded. */
import type { State } from '../../../shared/state/index.js';
import { limitNames } from '../../../shared/state/limits.js';

const bytes = (length: number, factor: number) => Uint8Array.from({ length }, (_, i) => i * factor);

export const stamp = {
  device: 0xfe00n,
  inode: 4711n,
  size: 1000n,
  modified: 1700000000000000001n,
  changed: 2n,
};

export function sampleState(): State {
  return {
    process: {
      pid: 4242,
      leadsSession: false,
      leadsGroup: true,
      personality: 0,
      dumpable: 1,
      childSubreaper: false,
      hugePagesDisabled: false,
      oomScoreAdjustment: -17,
      coreDumpFilter: 0x33n,
    },
    hostname: { hostname: 'böx', domainname: '(none)' },
    files: {
      descriptions: [
        { kind: 'stream', direction: 'out', flags: 2 },
        { kind: 'file', path: '/var/log/x', flags: 0o2001, position: 1000n, stamp },
        { kind: 'directory', path: '/var', flags: 0o200000, position: 0n, stamp },
        { kind: 'device', path: '/dev/null', flags: 2 },
        { kind: 'pipe', pipe: 0, end: 'read', flags: 0o4000 },
        { kind: 'epoll', flags: 2, watches: [{ fd: 4, events: 0x80000001, data: 0xffffffffffffffffn }] },
      ],
      descriptors: [
        { fd: 1, description: 0, closeOnExec: false },
        { fd: 2, description: 0, closeOnExec: false },
        { fd: 3, description: 1, closeOnExec: true },
        { fd: 4, description: 4, closeOnExec: false },
        { fd: 5, description: 5, closeOnExec: true },
        { fd: 6, description: 2, closeOnExec: false },
        { fd: 7, description: 3, closeOnExec: false },
      ],
    },
    pipes: [{ capacity: 65536, content: bytes(5, 3) }],
    directories: { workingDirectory: '/var', root: '/', umask: 0o022 },
    memory: {
      fields: {
        startCode: 0x400000n,
        endCode: 0x401000n,
        startData: 0x402000n,
        endData: 0x403000n,
        startBrk: 0x1000000n,
        brk: 0x1021000n,
        startStack: 0x7ffc00001000n,
        argStart: 0x7ffc00002000n,
        argEnd: 0x7ffc00002010n,
        envStart: 0x7ffc00002010n,
        envEnd: 0x7ffc00002ff0n,
      },
      auxiliaryVector: bytes(32, 1),
      executable: '/usr/bin/x',
      executableStamp: stamp,
      lockFuture: 'no',
      mergeAny: false,
    },
    limits: limitNames.map((_, i) => ({ soft: BigInt(i), hard: 2n ** 64n - 1n })),
    threads: [
      {
        tid: 4242,
        name: 'main',
        registers: bytes(216, 7),
        extendedState: bytes(576, 5),
        signalMask: 1n << 63n,
        alternateStack: { address: 0n, flags: 2, bytes: 0n },
        robustList: { head: 0x7f0000001000n, bytes: 24n },
        clearChildTid: 0x7f0000002000n,
        rseq: { address: 0x7f0000003000n, size: 32, signature: 0x53053053 },
        scheduling: { policy: 0, flags: 0n, nice: -5, priority: 0, runtime: 0n, deadline: 0n, period: 0n },
        affinity: Uint8Array.of(3),
        ioPriority: 0,
        timerSlackNs: 50000n,
        wait: { remainingNs: 1500000000n },
        pending: [bytes(128, 9)],
      },
    ],
    signals: {
      actions: [{ signal: 15, handler: 0x400500n, flags: 0x4000000n, restorer: 0x400600n, mask: 1n }],
      pending: [],
    },
    timers: [{ which: 0, interval: 1000000n, remaining: 500000n }],
    credentials: {
      uids: { real: 1000, effective: 1000, saved: 0, fileSystem: 1000 },
      gids: { real: 100, effective: 100, saved: 100, fileSystem: 100 },
      groups: [100, 4],
      inheritable: 0n,
      permitted: 0x1ffffffffffn,
      effective: 0n,
      bounding: 0x1ffffffffffn,
      ambient: 0n,
      securebits: 0,
      noNewPrivileges: true,
    },
  };
}
