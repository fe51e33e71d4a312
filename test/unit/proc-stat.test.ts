import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { parseStat, TaskFlag } from '../../shared/proc/stat.js';

// Recorded on Linux 6.18 from a program that had called itself "a) R (b <newline>\x".
const recorded =
  '5744 (a) R (b \n\\x) R 5740 5740 3221 0 -1 4194304 3155 6541 6 1 2 2 4 0 20 0 1 0 147096 18972672 3705 18446744073709551615 94415012597760 94415012598101 140726277416368 0 0 0 2048 16781312 514 0 0 0 17 1 0 0 0 0 0 94415012609456 94415012610072 94415597391872 140726277417203 140726277417249 140726277417249 140726277418959 0\n';
const kernelThread =
  '2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 22 0 0 18446744073709551615 0 0 0 0 0 0 0 2147483647 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n';

function refused(text: string): void {
  assert.throws(
    () => parseStat(text),
    (error: unknown) => error instanceof MigrationError && error.code === 'unknown-state',
  );
}

test('every field', () => {
  assert.equal(parseStat(recorded), {
    pid: 5744,
    comm: 'a) R (b \n\\x',
    state: 'R',
    ppid: 5740,
    pgrp: 5740,
    session: 3221,
    ttyNr: 0,
    tpgid: -1,
    flags: 0x400000,
    priority: 20,
    nice: 0,
    threads: 1,
    startTime: 147096n,
    vsizeBytes: 18972672n,
    startCode: 94415012597760n,
    endCode: 94415012598101n,
    startStack: 140726277416368n,
    exitSignal: 17,
    processor: 1,
    rtPriority: 0,
    policy: 0,
    startData: 94415012609456n,
    endData: 94415012610072n,
    startBrk: 94415597391872n,
    argStart: 140726277417203n,
    argEnd: 140726277417249n,
    envStart: 140726277417249n,
    envEnd: 140726277418959n,
    exitCode: 0,
  });
});

test('each field is taken from its own place', () => {
  // Field n holds the value 1000 + n, so that a neighbour's value would show.
  const values = Array.from({ length: 49 }, (_, i) => 1004 + i);
  const stat = parseStat(`7 (x) S ${values.join(' ')}\n`);
  const { pid, comm, state, ...numbers } = stat;
  assert.equal([pid, comm, state], [7, 'x', 'S']);
  assert.equal(
    Object.values(numbers).map((value) => Number(value) - 1000),
    [4, 5, 6, 7, 8, 9, 18, 19, 20, 22, 23, 26, 27, 28, 38, 39, 40, 41, 45, 46, 47, 48, 49, 50, 51, 52],
  );
});

test('a kernel thread', () => {
  const stat = parseStat(kernelThread);
  assert.ok(stat.flags & TaskFlag.kernelThread);
  assert.not(parseStat(recorded).flags & TaskFlag.kernelThread);
  assert.is(stat.startBrk, 0n);
});

test('names that imitate the rest of the line', () => {
  assert.is(parseStat(recorded.replace('a) R (b \n\\x', ') S 1 2 3 (')).comm, ') S 1 2 3 (');
  assert.is(parseStat(recorded.replace('a) R (b \n\\x', '')).comm, '');
  assert.is(parseStat(recorded.replace('a) R (b \n\\x', ' x ')).comm, ' x ');
});

test('addresses keep all 64 bits', () => {
  const text = recorded.replace('94415597391872', '18446744073709551615');
  assert.is(parseStat(text).startBrk, 2n ** 64n - 1n);
});

test('fields appended by later kernels do no harm', () => {
  assert.equal(parseStat(recorded.replace(/\n$/, ' 5 6\n')), parseStat(recorded));
});

test('too few fields, no name or no number are refused', () => {
  refused('');
  refused('5744 noname R 1 2 3');
  refused(recorded.replace(/ \d+\n$/, '\n'));
  refused(recorded.replace('5740 5740', '5740 x'));
  refused(recorded.replace('94415597391872', '-1'));
  refused(`x${recorded}`);
});

test.run();
