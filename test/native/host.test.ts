/** What this CPU and its kernel do, against what is computed of CPUID. */
import { spawnSync } from 'node:child_process';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { extendedStatesOf, signalFrameBytes } from '../../shared/cpu-features.js';
import { isKernelError } from '../../shared/errors.js';
import { fit } from '../../target-agent/extended-state.js';
import { compileProgram } from '../support/programs.js';
import { end, spawn } from './children.js';

const states = extendedStatesOf(native.cpuid, native.enabledStates());

test('CPUID: the vendor, the leaves there are, and zeros beyond', () => {
  const [highest, ...vendor] = native.cpuid(0, 0);
  assert.ok(highest! >= 1);
  const text = Buffer.alloc(12);
  [vendor[0]!, vendor[2]!, vendor[1]!].forEach((word, i) => void text.writeUInt32LE(word, i * 4));
  assert.match(text.toString('latin1'), /^[\x20-\x7e]{12}$/);
  assert.equal([...native.cpuid(0x7fffffff, 0)], [0, 0, 0, 0]);
  assert.equal([...native.cpuid(0xffffffff, 0)], [0, 0, 0, 0]);
});

test('clocks go on', () => {
  for (const clock of [0, 1, 7]) {
    const [one, two] = [native.clockNow(clock), native.clockNow(clock)];
    assert.ok(two >= one && two - one < 1_000_000_000n);
  }
  assert.throws(
    () => native.clockNow(99),
    (error: unknown) => isKernelError(error, 'EINVAL'),
  );
  const [[counter, ns], [later, laterNs]] = [native.timeStampCounter(), native.timeStampCounter()];
  assert.ok(later > counter && laterNs > ns);
});

test('a signal needs as much of its stack as is computed, and hardly less', () => {
  const program = compileProgram('signal-frame');
  const takes = (bytes: number) => spawnSync(program, [String(bytes)]).signal === null;
  const bytes = signalFrameBytes(states);
  assert.ok(takes(Math.max(bytes, 2048)), `${bytes} bytes do not do`);
  // The kernel takes no stack below 2048 bytes (MINSIGSTKSZ); alignment may save up to 128.
  if (bytes - 160 >= 2048) assert.not.ok(takes(bytes - 160), `${bytes} bytes are too many`);
});

test('ptrace takes an extended state of the size of this CPU, no other', async () => {
  const pid = spawn();
  try {
    native.seizeAndStop([pid], 0, 5000);
    const { extendedState } = native.readThreads([pid])[0]!;
    assert.is(fit(extendedState, states, pid), extendedState, 'it has the computed size already');
    const short = extendedState.slice(0, 576 + 256);
    const place = Buffer.from(short.buffer, 512, 8);
    place.writeBigUInt64LE(place.readBigUInt64LE() & 7n);
    if (short.length !== extendedState.length)
      assert.throws(
        () => native.writeThread(pid, undefined, short),
        (error: unknown) => isKernelError(error),
      );
    native.writeThread(pid, undefined, fit(short, states, pid));
    assert.is(native.readThreads([pid])[0]!.extendedState.length, extendedState.length);
  } finally {
    await end(pid);
  }
});

test.run();
