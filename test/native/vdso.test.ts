/** Finishing a function of the vdso in steps, with a time stamp counter of our choice. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { get } from '../../shared/injection/x86-64/registers.js';
import { parseMaps } from '../../shared/proc/mappings.js';
import { kernelVdso } from '../../shared/vdso.js';
import { repetitions, scaled, timeScale } from '../support/time.js';

const source = `
#include <time.h>
struct timespec now;
int main(void) { for (;;) clock_gettime(CLOCK_MONOTONIC, &now); }
`;
const test = suite('vdso');
const steps = 20000;
/** What a counter that is told otherwise makes of it. */
const muchNs = 5_000_000_000n;
let folder: string;
let child: ChildProcess;
let place: bigint;
let vdso: { start: bigint; end: bigint };

test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-vdso-'));
  const program = join(folder, 'loop');
  writeFileSync(`${program}.c`, source);
  // At a fixed address, so that the result can be found.
  execFileSync('cc', ['-O2', '-static', '-no-pie', '-o', program, `${program}.c`]);
  place = BigInt(
    `0x${/^([0-9a-f]+) \w now$/m.exec(execFileSync('nm', [program], { encoding: 'utf8' }))![1]}`,
  );
  child = spawn(program, { stdio: 'ignore' });
  const pid = child.pid!;
  while (native.readMemory(pid, place, 8).readBigInt64LE() === 0n);
  vdso = kernelVdso(parseMaps(readFileSync(`/proc/${pid}/maps`, 'utf8')))!;
  native.seizeAndStop([pid], 1, scaled(5000));
});
test.after(() => {
  child?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const resultNs = () => {
  const bytes = native.readMemory(child.pid!, place, 16);
  return bytes.readBigInt64LE() * 1000000000n + bytes.readBigInt64LE(8);
};

/**
 * False where it reads the clock again and again: the kernel moves on what it reads of it, and where an emulated
 * processor takes steps longer than a tick, it does so each time. (What a program reads on another host stands still.)
 */
function stepsOut(pid: number, timeStamp: bigint): boolean {
  try {
    native.stepOut(pid, BigUint64Array.of(vdso.start, vdso.end), timeStamp, steps);
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== 'ELOOP' || timeScale === 1) throw error;
    return false;
  }
}

/** Stops until it is met inside, and finishes. Returns how much later than after that the function says it was. */
function aheadNs(timeStamp: () => bigint): bigint {
  const pid = child.pid!;
  for (;;) {
    native.resumeTracee(pid, 0);
    native.interruptAndStop([pid], scaled(5000));
    const [image] = native.readThreads([pid]);
    const at = get(image!.registers, 'rip');
    if (at < vdso.start || at >= vdso.end) continue;
    if (!stepsOut(pid, timeStamp())) continue;
    const after = get(native.readThreads([pid])[0]!.registers, 'rip');
    assert.ok(after < vdso.start || after >= vdso.end);
    return resultNs() - process.hrtime.bigint();
  }
}

test('it ends outside, with a result, and the program goes on', () => {
  for (let i = 0; i < repetitions(50); i += 1) assert.ok(aheadNs(() => native.timeStampCounter()[0]) <= 0n);
});

test('what it reads of the counter is what it is told', () => {
  const distance = 2n ** 36n; // ten seconds and more
  for (let i = 0; i < 3000; i += 1) {
    if (aheadNs(() => native.timeStampCounter()[0] + distance) > muchNs) return;
  }
  assert.unreachable('the counter was never read');
});

test('a function that does not come out in so many steps', () => {
  const pid = child.pid!;
  const everywhere = BigUint64Array.of(0n, 2n ** 47n);
  assert.throws(
    () => native.stepOut(pid, everywhere, 0n, 100),
    (error: { code?: string }) => error.code === 'ELOOP',
  );
});

test('the kernel lets a process read its own data, and says which pages there are', () => {
  const data = parseMaps(readFileSync('/proc/self/maps', 'utf8')).find(({ path }) => path === '[vvar]')!;
  const pages = native.readOwnPages(data.start, Number((data.end - data.start) / 4096n));
  assert.ok(pages.some((page) => page?.some((byte) => byte !== 0)));
  assert.equal(native.readOwnPages(0n, 2), [null, null]);
});

test.run();
