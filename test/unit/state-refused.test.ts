/** One test for each way in which a state can be refused. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import { CompleteState, PartialState, type State } from '../../shared/state/index.js';
import { Mappings } from '../../shared/state/memory.js';
import { mapping, page } from './support/mappings.js';
import { sampleState } from './support/state.js';

function issuesOf(schema: v.GenericSchema, value: unknown): string {
  const result = v.safeParse(schema, value);
  return result.success
    ? 'it was accepted'
    : result.issues.map((issue) => `${v.getDotPath(issue)}: ${issue.message}`).join('; ');
}

/** Refuses the sample after this change. */
function refused(change: (state: State) => void, text: RegExp): void {
  const state = sampleState();
  change(state);
  assert.match(issuesOf(CompleteState, state), text);
}

test('the sample is fine, and so is each part of it alone', () => {
  assert.is(issuesOf(CompleteState, sampleState()), 'it was accepted');
  for (const [kind, value] of Object.entries(sampleState()))
    assert.is(issuesOf(PartialState, { [kind]: value }), 'it was accepted', kind);
  assert.is(issuesOf(PartialState, {}), 'it was accepted');
});

test('a kind too many or too few', () => {
  assert.match(issuesOf(CompleteState, { ...sampleState(), dreams: [] }), /dreams/);
  assert.match(issuesOf(PartialState, { dreams: [] }), /dreams/);
  const { timers: _, ...rest } = sampleState();
  assert.match(issuesOf(CompleteState, rest), /timers/);
});

test('mappings: sorted, disjoint, not empty', () => {
  assert.is(issuesOf(Mappings, [mapping(1, 1), mapping(2, 1)]), 'it was accepted');
  assert.match(issuesOf(Mappings, [mapping(1, 2), mapping(2, 1)]), /overlap or are out of order/);
  assert.match(issuesOf(Mappings, [mapping(5, 1), mapping(1, 1)]), /overlap or are out of order/);
  assert.match(issuesOf(Mappings, [mapping(1, 1), mapping(1, 1)]), /overlap or are out of order/);
  assert.match(issuesOf(Mappings, [mapping(1, 0)]), /empty mapping/);
  assert.match(issuesOf(Mappings, [{ ...mapping(2, 1), end: page }]), /empty mapping/);
});

test('mappings: page aligned, in user space, of known kinds', () => {
  const one = mapping(1, 1);
  for (const [change, text] of [
    [{ start: 1n }, /start: not page aligned/],
    [{ end: 4097n }, /end: not page aligned/],
    [{ end: 1n << 48n }, /0\.end/],
    [{ start: -page }, /0\.start/],
    [{ protection: 8 }, /protection/],
    [{ kind: 'hugetlb' }, /kind/],
    [{ name: 'x'.repeat(4097) }, /name/],
    [{ offset: -1n }, /offset/],
    [{ offset: 1n << 64n }, /offset/],
    [{ advice: ['xx'] }, /advice/],
    [{ advice: Array.from({ length: 11 }, () => 'dd') }, /advice/],
    [{ label: 'x'.repeat(80) }, /label/],
    [{ label: 'a\0b' }, /label/],
  ] as const) {
    assert.match(issuesOf(Mappings, [{ ...one, ...change }]), text);
  }
});

test('mappings: no more than the kernel would make', () => {
  const many = Array.from({ length: (1 << 17) + 1 }, (_, i) => mapping(2 * i + 1, 1));
  assert.match(issuesOf(Mappings, many), /Invalid length/);
});

test('process', () => {
  refused(({ process }) => (process.pid = 0), /process\.pid/);
  refused(({ process }) => (process.dumpable = 3 as 2), /dumpable/);
  refused(({ process }) => (process.personality = -1), /personality/);
  refused(({ process }) => (process.oomScoreAdjustment = 2 ** 31), /oomScoreAdjustment/);
});

test('files', () => {
  refused(({ files }) => (files.descriptors[0]!.fd = -1), /fd/);
  refused(({ files }) => (files.descriptors[0]!.fd = (1 << 20) + 1), /fd/);
  refused(({ files }) => (files.descriptors[0]!.description = -1), /description/);
  refused(({ files }) => ((files.descriptions[1] as { path: string }).path = 'relative'), /path/);
  refused(({ files }) => ((files.descriptions[0] as { kind: string }).kind = 'socket'), /kind/);
  refused(({ files }) => ((files.descriptions[0] as { direction: string }).direction = 'both'), /direction/);
});

test('pipes', () => {
  refused(({ pipes }) => (pipes[0]!.capacity = (64 << 20) + 1), /capacity/);
  refused(({ pipes }) => (pipes[0]!.content = 'text' as unknown as Uint8Array), /content: not bytes/);
  refused(({ pipes }) => (pipes[0]!.content = new Uint8Array((64 << 20) + 1)), /content: longer/);
});

test('directories and host names', () => {
  refused(({ directories }) => (directories.umask = 0o1000), /umask/);
  refused(({ directories }) => (directories.root = ''), /root/);
  refused((state) => (state.hostname = { hostname: 'x'.repeat(65), domainname: '' }), /hostname/);
});

test('memory', () => {
  refused(({ memory }) => (memory.auxiliaryVector = new Uint8Array(4097)), /auxiliaryVector: longer/);
  refused(({ memory }) => (memory.fields.brk = 1n << 48n), /brk/);
  refused(({ memory }) => (memory.executable = 'x'), /executable/);
});

test('limits: all sixteen', () => {
  refused(({ limits }) => limits.pop(), /limits/);
  refused(({ limits }) => limits.push(limits[0]!), /limits/);
  refused(({ limits }) => (limits[0]!.soft = -1n), /soft/);
});

test('threads', () => {
  refused((state) => (state.threads = []), /threads/);
  refused(({ threads }) => (threads[0]!.registers = new Uint8Array(215)), /registers: not 27 words/);
  refused(({ threads }) => (threads[0]!.extendedState = new Uint8Array(575)), /extendedState: too short/);
  refused(({ threads }) => (threads[0]!.extendedState = new Uint8Array(16385)), /extendedState: longer/);
  refused(({ threads }) => (threads[0]!.signalMask = 1n << 64n), /signalMask/);
  refused(({ threads }) => threads[0]!.pending.push(new Uint8Array(129)), /pending\.1: longer/);
  refused(({ threads }) => (threads[0]!.scheduling.nice = 0.5), /nice/);
});

test('signals and timers', () => {
  refused(({ signals }) => (signals.actions[0]!.signal = 65), /signal/);
  refused(({ signals }) => (signals.actions[0]!.signal = 0), /signal/);
  refused(({ timers }) => (timers[0]!.which = 3 as 2), /which/);
  refused(({ timers }) => timers.push(timers[0]!, timers[0]!, timers[0]!), /timers: Invalid length/);
});

test('credentials', () => {
  refused(({ credentials }) => (credentials.uids.real = -1), /real/);
  refused(({ credentials }) => (credentials.groups = Array.from({ length: 65537 }, () => 1)), /groups/);
  refused(({ credentials }) => (credentials.bounding = -1n), /bounding/);
});

test.run();
