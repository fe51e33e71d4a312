import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatReport } from '../../cli/report.js';
import type { Report } from '../../source-agent/report.js';

const report: Report = {
  event: 'result',
  outcome: 'moved',
  sourcePid: 4711,
  targetPid: 5022,
  innerPid: 17,
  rounds: 6,
  bytes: { memory: 310_000_000, wire: 214_000_000, zero: 96_000_000, lastRound: 1_200_000 },
  totalMs: 1840,
  frozenMs: 8.4,
  phases: { freeze: 0.5, send: 2, switch: 0.123 },
  tracker: 'userfault',
  trackerWhy: 'it works here',
  notes: ['It leads a session of its own now.', 'Its standard input is /dev/null.'],
  log: '/run/godwit/17.log',
};

test('the whole report', () => {
  assert.is(
    formatReport(report, '10.0.0.2:7777'),
    `Moved: process 4711 runs on 10.0.0.2:7777 as 5022, frozen for 8.40 ms.
  pid            4711 here, 5022 there, 17 to itself
  total          1.84 s, 6 rounds
  frozen         8.40 ms
    freeze       0.50 ms
    send         2.00 ms
    switch       0.12 ms
  memory         310 MB
    on the wire  214 MB
    zero pages   96.0 MB
    last round   1.20 MB
  tracker        userfault (it works here)
  output         /run/godwit/17.log on the target
  note           It leads a session of its own now.
  note           Its standard input is /dev/null.`,
  );
});

test('without notes and output', () => {
  const lines = formatReport({ ...report, rounds: 1, notes: [], log: null }, 'b:1').split('\n');
  assert.is(lines[2], '  total          1.84 s, 1 round');
  assert.is(lines.at(-1), '  output         no stream leads out');
});

test.run();
