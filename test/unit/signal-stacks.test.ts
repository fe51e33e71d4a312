import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { signalFrameBytes } from '../../shared/cpu-features.js';
import { MigrationError } from '../../shared/errors.js';
import type { HostFacts } from '../../shared/protocol/messages.js';
import { detectSignalStacks, StackWatch } from '../../source-agent/signal-stacks.js';
import { fromSource } from './support/messages.js';

const { host: here } = fromSource().hello;
const avx512 = { component: 7, offset: 1664, bytes: 1024, dynamic: false };
const larger: HostFacts = { ...here, extendedStates: [...here.extendedStates, avx512] };
const [small, large] = [here, larger].map(({ extendedStates }) => signalFrameBytes(extendedStates)) as [
  number,
  number,
];

const thread = (bytes: number, flags = 0) => ({
  tid: 42,
  name: 'worker',
  alternateStack: { address: 0x1000n, flags, bytes: BigInt(bytes) },
});
const found = (bytes: number, there = larger, flags = 0) =>
  detectSignalStacks(here, there, [thread(bytes, flags)]).map(({ code, tid }) => [code, tid]);

test('a larger frame and a stack that does not hold it: the thread is named', () => {
  assert.ok(large > small);
  assert.equal(found(2048), [['signal-stack', 42]]);
  const [blocker] = detectSignalStacks(here, larger, [thread(2048)]);
  assert.match(
    blocker!.what,
    /thread 42 \(worker\) has 2048 bytes: signal frames of 3216 bytes .* do not fit/,
  );
});

test('the handler needs some room as well', () => {
  assert.equal(found(large + 1023).length, 1);
  assert.match(detectSignalStacks(here, larger, [thread(large + 1023)])[0]!.what, /leave 1023 bytes/);
  assert.equal(found(large + 1024), []);
});

test('no stack, or frames that are not larger: nothing becomes worse', () => {
  assert.equal(found(2048, larger, 2), []);
  assert.equal(found(0), []);
  assert.equal(found(512, here), []);
  assert.equal(found(512, { ...here, extendedStates: [] }), []);
});

test('looked at again and again: refused, or accepted and told once', () => {
  const hosts = { here, there: larger };
  const refusing = new StackWatch(hosts, ['wall-clock']);
  refusing.look({ threads: [thread(9000)] });
  assert.throws(
    () => refusing.look({ threads: [thread(2048)] }),
    (error: unknown) => error instanceof MigrationError && error.code === 'signal-stack',
  );
  const accepting = new StackWatch(hosts, ['signal-stack']);
  accepting.look({ threads: [thread(2048)] });
  accepting.look({ threads: [thread(2048)] });
  assert.is(accepting.notes.length, 1);
  assert.match(accepting.notes[0]!, /^forced \(signal-stack\): /);
});

test.run();
