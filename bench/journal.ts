/**
 * What a record of the hand-over costs: `node dist/bench/journal.js [DIRECTORY] [RECORDS]`, in milliseconds. Beside it
 * the same bytes appended to a new file, which is what preallocation saves, and the bare write and fdatasync.
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Journal } from '../shared/journal.js';
import { blockBytes } from '../shared/journal-format.js';
import { openDurableDirectory } from '../shared/state-directory.js';

const parent = process.argv[2] ?? tmpdir();
const records = Number(process.argv[3] ?? 200);

async function measure(name: string, step: (i: number) => Promise<void> | void): Promise<void> {
  const times: number[] = [];
  for (let i = 0; i < records; i += 1) {
    const started = performance.now();
    await step(i);
    times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(share * (times.length - 1))]!.toFixed(3);
  console.log(`${name.padEnd(34)} median ${at(0.5)}  p90 ${at(0.9)}  p99 ${at(0.99)}  worst ${at(1)} ms`);
}

const directory = openDurableDirectory(mkdtempSync(path.join(parent, 'godwit-journal-')));
try {
  const identity = {
    role: 'source',
    peer: '192.0.2.1:7777',
    pid: process.pid,
    startTime: '0',
    bootId: '',
    name: 'bench',
    createdMs: Date.now(),
  } as const;
  const idOf = (i: number) => i.toString(16).padStart(16, '0');
  using journal = Journal.create(directory, { ...identity, migration: idOf(0) });
  await measure('journal: record', (i) =>
    journal.record({ decision: 'commit', epoch: i, by: 'rule', settled: false }),
  );
  await measure('journal: make and close', (i) =>
    Journal.create(directory, { ...identity, migration: idOf(i + 1) })[Symbol.dispose](),
  );
  const block = Buffer.alloc(blockBytes, 1);
  const plain = openSync(path.join(directory, 'plain'), 'w');
  await measure('append, fdatasync', () => {
    writeSync(plain, block);
    fdatasyncSync(plain);
  });
  await measure('overwrite, fdatasync', (i) => {
    writeSync(plain, block, 0, blockBytes, (i % 15) * blockBytes);
    fdatasyncSync(plain);
  });
  closeSync(plain);
} finally {
  rmSync(directory, { recursive: true });
}
