import { createHash } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  blockBytes,
  type Contents,
  decodeJournal,
  type Entry,
  encodeBlock,
  type Identity,
  journalBytes,
  positionOf,
} from '../../shared/journal-format.js';

const migration = '0123456789abcdef';
const identity: Identity = {
  migration,
  role: 'source',
  peer: '[2001:db8::1]:7777',
  pid: 4711,
  startTime: '987654321',
  bootId: '3f1f2b6e-7a4f-4d6a-9c55-0b8d6b5f0c11',
  name: 'redis-server',
  createdMs: 1_700_000_000_000,
};
const entry = (decision: Entry['decision'], changes: Partial<Entry> = {}): Entry => ({
  decision,
  epoch: 1,
  by: 'rule',
  settled: false,
  atMs: 1_700_000_000_123,
  detail: '',
  ...changes,
});

/** A journal with these records. */
function journal(...entries: Entry[]): Buffer {
  const bytes = Buffer.alloc(journalBytes);
  encodeBlock(migration, 0, identity).copy(bytes, 0);
  entries.forEach((each, i) => {
    encodeBlock(migration, i + 1, each).copy(bytes, positionOf(i + 1));
  });
  return bytes;
}

const decode = (bytes: Uint8Array): Contents => decodeJournal(migration, 'source', bytes);

test('the last record counts, also when all blocks have been used', () => {
  assert.equal(decode(journal(entry('open'))), { identity, entry: entry('open'), sequence: 1 });
  assert.equal(decode(journal(entry('open'), entry('commit'))).entry, entry('commit'));
  const many = Array.from({ length: 40 }, (_, i) => entry('commit', { detail: `${i}` }));
  const { entry: last, sequence } = decode(journal(...many));
  assert.equal([last, sequence], [many.at(-1), 40]);
});

test('a record fits the sector that it begins, and says when it does not', () => {
  const block = encodeBlock(migration, 2, entry('commit', { detail: 'x'.repeat(200) }));
  assert.is(block.length, blockBytes);
  assert.ok(block.subarray(512).every((byte) => byte === 0));
  assert.throws(() => encodeBlock(migration, 2, entry('commit', { detail: 'x'.repeat(500) })), RangeError);
});

test('the bytes on the disk: journals outlive an upgrade of the agent', () => {
  const block = encodeBlock(migration, 2, entry('commit'));
  const text = '{"decision":"commit","epoch":1,"by":"rule","settled":false,"atMs":1700000000123,"detail":""}';
  const head = '676f647769744a31' + '02000000' + '5c000000';
  const end = 16 + text.length;
  assert.is(block.toString('hex', 0, 16), head);
  assert.is(block.toString('utf8', 16, end), text);
  assert.is(
    block.toString('hex', end, end + 32),
    createHash('sha256').update(migration).update(Buffer.from(head, 'hex')).update(text).digest('hex'),
  );
  assert.ok(block.subarray(end + 32).every((byte) => byte === 0));
});

test('a torn COMMIT is never taken for the record before it, wherever it was cut', () => {
  const before = journal(entry('open'));
  const after = journal(entry('open'), entry('commit'));
  const at = positionOf(2);
  const seen = new Set<string>();
  for (let length = 0; length <= blockBytes; length += length < 512 ? 1 : 32) {
    for (const torn of [
      Buffer.concat([after.subarray(0, at + length), before.subarray(at + length)]),
      // Later sectors may come first.
      Buffer.concat([before.subarray(0, at + length), after.subarray(at + length)]),
    ]) {
      const { entry: found } = decode(torn);
      const isBefore = torn.equals(before);
      const isAfter = torn.equals(after);
      const expected = isBefore ? entry('open') : isAfter ? entry('commit') : 'damaged';
      if (JSON.stringify(found) !== JSON.stringify(expected)) assert.unreachable(`cut after ${length} bytes`);
      seen.add(found === 'damaged' ? found : found.decision);
    }
  }
  assert.equal([...seen].sort(), ['commit', 'damaged', 'open']);
});

test('a flipped bit in any byte: whole, or known to be damaged', () => {
  const bytes = journal(entry('open'), entry('commit', { epoch: 3 }));
  const good = JSON.stringify(decode(bytes));
  const length = (sequence: number) => 16 + bytes.readUInt32LE(positionOf(sequence) + 12) + 32;
  // Behind a record there are only zeros, one like the other.
  for (let i = 0; i < positionOf(4); i += i % blockBytes < 512 ? 1 : 32) {
    for (const bit of [1, 0x10, 0x80]) {
      bytes[i] = bytes[i]! ^ bit;
      const found = decode(bytes);
      const inRecord = (sequence: number) =>
        i >= positionOf(sequence) && i < positionOf(sequence) + length(sequence);
      if (inRecord(0) && found.identity !== null) assert.unreachable(`byte ${i} of the identity`);
      // The record, and the block of what would have come after it.
      const matters = (i >= positionOf(2) && i < positionOf(2) + 512) || i >= positionOf(3);
      if (found.entry !== 'damaged' && (inRecord(2) || i >= positionOf(3))) assert.unreachable(`byte ${i}`);
      if (!matters && !inRecord(0) && JSON.stringify(found) !== good) assert.unreachable(`byte ${i}`);
      bytes[i] = bytes[i]! ^ bit;
    }
  }
  assert.is(JSON.stringify(decode(bytes)), good);
});

test('a file cut short at any byte never says less than was recorded', () => {
  const bytes = journal(entry('open'), entry('commit'));
  for (let length = 0; length < journalBytes; length += length % blockBytes < 512 ? 1 : 32) {
    const { entry: found } = decode(bytes.subarray(0, length));
    const whole = length >= positionOf(4);
    if (JSON.stringify(found) !== JSON.stringify(whole ? entry('commit') : 'damaged'))
      assert.unreachable(`cut after ${length} bytes: ${JSON.stringify(found)}`);
  }
});

test('records of another migration, another side or another place are none', () => {
  const bytes = journal(entry('open'), entry('commit'));
  assert.is(decodeJournal('fedcba9876543210', 'source', bytes).entry, 'damaged');
  assert.is(decodeJournal('fedcba9876543210', 'source', bytes).identity, null);
  assert.is(decodeJournal(migration, 'target', bytes).identity, null);
  const moved = journal(entry('open'));
  bytes.copy(moved, positionOf(3), positionOf(2), positionOf(3));
  assert.equal(decode(moved).entry, entry('open'));
  bytes.copy(moved, positionOf(2), positionOf(1), positionOf(2));
  assert.is(decode(moved).entry, 'damaged');
});

test('whole blocks of anything else are damaged, not believed', () => {
  const strange = (value: unknown) => {
    const bytes = journal(entry('open'));
    encodeBlock(migration, 2, value as Entry).copy(bytes, positionOf(2));
    return decode(bytes).entry;
  };
  assert.equal(strange(entry('commit')), entry('commit'));
  assert.is(strange({ ...entry('commit'), decision: 'perhaps' }), 'damaged');
  assert.is(strange({ ...entry('commit'), epoch: -1 }), 'damaged');
  assert.is(strange({ ...entry('commit'), more: 1 }), 'damaged');
  assert.is(strange(null), 'damaged');
  assert.is(decode(Buffer.alloc(journalBytes)).entry, 'damaged');
  assert.is(decode(Buffer.alloc(0)).entry, 'damaged');
});

test.run();
