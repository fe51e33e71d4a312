/** One fixed message of each kind, with every field set. */
import type { FromSource, FromTarget } from '../../../shared/protocol/messages.js';
import { pack } from '../../../shared/state/packed.js';
import { fileMapping, mapping } from './mappings.js';
import { sampleState, stamp } from './state.js';

type Messages<M extends { type: string }> = { [T in M['type']]: Extract<M, { type: T }> };

const migration = '0123456789abcdef';
const digest = '0123456789abcdef'.repeat(4);
const host = {
  product: 'godwit 0.1.0',
  architecture: 'x64',
  kernelRelease: '6.18.0',
  hostname: 'ost',
  bootId: '11111111-2222-3333-4444-555555555555',
  pageBytes: 4096,
  vdso: digest,
  cpuFeatures: ['avx2', 'sse2'],
  extendedStates: [
    { component: 2, offset: 576, bytes: 256, dynamic: false },
    { component: 18, offset: 2816, bytes: 8192, dynamic: true },
  ],
  possibleCpus: 8,
  rseqFeatureBytes: 28,
  clocksource: 'tsc',
  tscKilohertz: 2_600_000,
  hugePages: 'madvise',
};
const clocks = {
  realtimeNs: 1_790_000_000_000_000_000n,
  monotonicNs: 86_400_000_000_000n,
  boottimeNs: 86_400_000_000_001n,
};
const mappings = [
  fileMapping(0x400, 2, '/usr/bin/x'),
  mapping(0x500, 16, { advice: ['dd', 'lo'], noReserve: true }),
  mapping(0x7ffc00000, 33, { growsDown: true }),
  mapping(0x7ffd00000, 2, { kind: 'special', name: '[vdso]', protection: 5 }),
];

export function fromSource(): Messages<FromSource> {
  const { directories, timers } = sampleState();
  return {
    hello: { type: 'hello', host, clocks },
    offer: {
      type: 'offer',
      check: false,
      migration,
      name: 'x',
      ids: [4242, 4243],
      needs: {
        privateBytes: 5 * 2 ** 30,
        accountedBytes: 6 * 2 ** 30,
        largestAccountedBytes: 2 ** 30,
        mappings: 40,
        lowestAddress: 0x400000n,
      },
      files: [{ path: '/usr/bin/x', stamp, directory: false, mapped: true }],
      compareContents: true,
      force: ['wall-clock'],
      effectiveUid: 1000,
      hardLimits: [2n ** 64n - 1n, 1024n],
      stdio: 'log',
      vdso: { start: 0x7ffd00000000n, image: Buffer.from('\x7fELF', 'latin1'), kernel: digest },
    },
    identities: {
      type: 'identities',
      files: [
        { path: '/usr/bin/x', identity: `sha256:${digest}` },
        { path: '/usr/lib/y', identity: 'build-id:0123456789abcdef' },
        { path: '/gone', identity: null },
      ],
    },
    build: { type: 'build', mappings, state: sampleState() },
    layout: { type: 'layout', splices: [{ at: 1, remove: 2, insert: mappings.slice(1) }] },
    round: { type: 'round', number: 3, frames: 70000 },
    settle: { type: 'settle', frames: 70001, state: { directories }, huge: [[0x600000n, 0x800000n]] },
    adjust: { type: 'adjust', state: pack({ directories, timers }) },
    finish: {
      type: 'finish',
      epoch: 1,
      state: pack({ directories, timers }),
      frames: 70002,
      dropped: [[0x500000n, 0x501000n]],
      guards: [[0x502000n, 0x503000n]],
      changedFiles: [{ path: '/var/log/x', size: 1001n, sha256: digest }],
      vdso: { memory: [{ start: 0x7ffd00000000n, bytes: Buffer.of(1, 2, 3) }], timeStamp: 2n ** 63n },
    },
    rehearse: {
      type: 'rehearse',
      frames: 70002,
      dropped: [],
      guards: [],
      state: { directories },
      changedFiles: [],
      vdso: null,
    },
    commit: { type: 'commit', migration, epoch: 1 },
    withdraw: { type: 'withdraw', migration },
    abort: { type: 'abort', migration, reason: 'the migration was interrupted' },
    over: { type: 'over', migration },
    recall: { type: 'recall', migration },
  };
}

export function fromTarget(): Messages<FromTarget> {
  return {
    hello: { type: 'hello', host, clocks },
    identify: { type: 'identify', paths: ['/usr/bin/x'] },
    verdict: {
      type: 'verdict',
      blockers: [{ code: 'pid-taken', what: 'it is in use', phase: 'preflight', object: 'pid 4242' }],
      forced: [{ code: 'wall-clock', what: 'it is 5 s ahead', phase: 'preflight', object: 'CLOCK_REALTIME' }],
      notes: ['a note'],
    },
    built: { type: 'built', pid: 17 },
    applied: { type: 'applied' },
    landed: { type: 'landed', number: 3, pages: 12, zeroPages: 4 },
    settled: { type: 'settled' },
    rehearsed: { type: 'rehearsed', phases: { state: 2.5 } },
    prepared: { type: 'prepared', epoch: 1, phases: { state: 1.25 } },
    running: {
      type: 'running',
      migration,
      pid: 17,
      ended: { code: null, signal: 9 },
      phases: { run: 0.5 },
      notes: ['a note'],
      log: '/var/lib/x.log',
    },
    failed: { type: 'failed', code: 'target-failed', what: 'mmap: ENOMEM', object: 'mapping 0-1' },
    aborted: { type: 'aborted', migration, what: 'the disk is full' },
    lost: { type: 'lost', migration },
    unknown: { type: 'unknown', migration },
  };
}
