import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CommitRecord } from '../../shared/commit/index.js';
import type { ErrorCode, MigrationError } from '../../shared/errors.js';
import { cleanJournals, Journal, listJournals, peekJournal } from '../../shared/journal.js';
import { blockBytes, type Identity, journalBytes } from '../../shared/journal-format.js';
import { durableDirectory, openDurableDirectory } from '../../shared/state-directory.js';

const migration = '00112233aabbccdd';
const identity: Identity = {
  migration,
  role: 'source',
  peer: '192.0.2.1:7777',
  pid: 4711,
  startTime: '1234',
  bootId: 'a-boot',
  name: 'sleep',
  createdMs: 1,
};
const commit: CommitRecord = { decision: 'commit', epoch: 2, by: 'rule', settled: false };
const moved: CommitRecord = { ...commit, settled: true };

const test = suite<{ directory: string }>('journal', { directory: '' });

test.before.each((context) => {
  context.directory = mkdtempSync(path.join(tmpdir(), 'godwit-journal-'));
});
test.after.each(({ directory }) => {
  rmSync(directory, { recursive: true, force: true });
});

const isCode = (code: ErrorCode) => (error: Error) => {
  assert.is((error as MigrationError).code, code, error.message);
  return true;
};
async function rejects(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  await promise.then(
    () => assert.unreachable(`no ${code}`),
    (error) => isCode(code)(error),
  );
}

test('what was recorded is there for the next agent, with all that belongs to it', async ({ directory }) => {
  {
    using journal = Journal.create(directory, identity);
    assert.equal(journal.recorded, { decision: 'open', epoch: 0, by: 'rule', settled: false });
    await journal.record(commit, 'held by SIGSTOP');
    assert.equal(journal.recorded, commit);
  }
  using again = await Journal.open(directory, migration, 'source');
  assert.equal([again.identity, again.recorded, again.detail], [identity, commit, 'held by SIGSTOP']);
  await again.record(moved);
  assert.equal(peekJournal(directory, migration, 'source')?.entry, {
    ...moved,
    detail: '',
    atMs: (peekJournal(directory, migration, 'source')!.entry as { atMs: number }).atMs,
  });
});

test('records go to the disk in the order of the calls, also when nobody waits', async ({ directory }) => {
  using journal = Journal.create(directory, identity);
  await Promise.all(Array.from({ length: 40 }, (_, i) => journal.record({ ...commit, epoch: i }, `${i}`)));
  const { entry, sequence } = peekJournal(directory, migration, 'source')!;
  assert.is(sequence, 41);
  assert.is((entry as { detail: string }).detail, '39');
});

test('a record changes one block that was there before: nothing grows', async ({ directory }) => {
  using journal = Journal.create(directory, identity);
  const [before, stat] = [readFileSync(journal.file), statSync(journal.file)];
  assert.is(before.length, journalBytes);
  // All of it is on the disk, none of it a hole.
  assert.ok(stat.blocks * 512 >= journalBytes);
  await journal.record(commit);
  const after = readFileSync(journal.file);
  const changed = new Set<number>();
  for (let i = 0; i < journalBytes; i += 1)
    if (before[i] !== after[i]) changed.add(Math.floor(i / blockBytes));
  assert.equal([...changed], [2]);
  assert.is(statSync(journal.file).blocks, stat.blocks);
});

test('nothing is written to a journal that was closed', async ({ directory }) => {
  const journal = Journal.create(directory, identity);
  const before = readFileSync(journal.file);
  journal[Symbol.dispose]();
  await rejects(journal.record(commit), 'journal-unusable');
  assert.ok(readFileSync(journal.file).equals(before));
});

test('both sides of one migration may be on one host; one side is there once', ({ directory }) => {
  using source = Journal.create(directory, identity);
  using target = Journal.create(directory, { ...identity, role: 'target' });
  assert.is.not(source.file, target.file);
  assert.throws(() => Journal.create(directory, identity), isCode('journal-unusable'));
  assert.equal(
    listJournals(directory).map(({ role, identity: found }) => [role, found?.role]),
    [
      ['source', 'source'],
      ['target', 'target'],
    ],
  );
});

test('nothing but the file is left, and only its owner can read it', ({ directory }) => {
  using journal = Journal.create(directory, identity);
  assert.equal(readdirSync(directory), [path.basename(journal.file)]);
  assert.is(statSync(journal.file).mode & 0o777, 0o600);
});

test('two agents never have one journal', async ({ directory }) => {
  const first = Journal.create(directory, identity);
  await rejects(Journal.open(directory, migration, 'source'), 'migration-busy');
  first[Symbol.dispose]();
  using second = await Journal.open(directory, migration, 'source');
  assert.equal(second.identity, identity);
});

test('a helper that inherits the descriptor keeps the lock until it ends', async ({ directory }) => {
  const journal = Journal.create(directory, identity);
  const helper = spawn('sleep', ['1000'], { stdio: ['ignore', 'ignore', 'ignore', journal.descriptor] });
  try {
    await once(helper, 'spawn');
    journal[Symbol.dispose]();
    await rejects(Journal.open(directory, migration, 'source'), 'migration-busy');
  } finally {
    helper.kill('SIGKILL');
    await once(helper, 'exit');
  }
  (await Journal.open(directory, migration, 'source'))[Symbol.dispose]();
});

test('an agent that is killed while it records leaves what it was sure of, whole', async ({ directory }) => {
  const module = new URL('../../shared/journal.js', import.meta.url).href;
  const agent = `
    const { Journal } = await import(${JSON.stringify(module)});
    const journal = await Journal.open(${JSON.stringify(directory)}, '${migration}', 'source');
    for (let epoch = 1; ; epoch += 1) {
      await journal.record({ decision: 'commit', epoch, by: 'rule', settled: false });
      process.stdout.write(epoch + '\\n');
    }`;
  Journal.create(directory, identity)[Symbol.dispose]();
  for (const least of [1, 7, 16, 40]) {
    const child = spawn(process.execPath, ['--input-type=module', '-e', agent], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    const ended = once(child, 'close');
    for await (const text of child.stdout.setEncoding('utf8')) {
      output += text;
      if (output.split('\n').length > least) child.kill('SIGKILL');
    }
    await ended;
    const sure = Number(output.split('\n').at(-2));
    using journal = await Journal.open(directory, migration, 'source');
    const { recorded } = journal;
    assert.ok(
      recorded !== null && recorded !== 'damaged' && recorded.epoch >= sure,
      JSON.stringify(recorded),
    );
  }
});

test('what is not there, or cannot be a name', async ({ directory }) => {
  await rejects(Journal.open(directory, 'ffffffffffffffff', 'source'), 'no-such-migration');
  assert.throws(() => peekJournal(directory, '../../etc/passwd', 'source'), isCode('no-such-migration'));
  assert.is(peekJournal(directory, migration, 'target'), null);
  assert.equal(listJournals(directory), []);
});

test('a damaged record is told as such, and what is written after it counts again', async ({ directory }) => {
  const journal = Journal.create(directory, identity);
  await journal.record(commit);
  journal[Symbol.dispose]();
  const bytes = readFileSync(journal.file);
  bytes[2 * blockBytes + 20]! ^= 1;
  writeFileSync(journal.file, bytes);
  using again = await Journal.open(directory, migration, 'source');
  assert.is(again.recorded, 'damaged');
  await again.record(moved);
  assert.equal(listJournals(directory)[0]!.entry, {
    ...(listJournals(directory)[0]!.entry as object),
    ...moved,
  });
});

test('a journal that does not say whose it is cannot be taken over, but is listed', async ({ directory }) => {
  Journal.create(directory, identity)[Symbol.dispose]();
  const file = path.join(directory, `${migration}.source.journal`);
  writeFileSync(file, readFileSync(file).fill(0, 0, 100));
  await rejects(Journal.open(directory, migration, 'source'), 'journal-unusable');
  assert.equal(listJournals(directory)[0]!.identity, null);
});

test('a link in the place of a journal is not followed', async ({ directory }) => {
  const elsewhere = path.join(directory, 'elsewhere');
  writeFileSync(elsewhere, '');
  symlinkSync(elsewhere, path.join(directory, `${migration}.source.journal`));
  await rejects(Journal.open(directory, migration, 'source'), 'journal-unusable');
});

test('age removes what is over, and nothing else', async ({ directory }) => {
  const ids = ['a', 'b', 'c', 'd'].map((digit) => digit.repeat(16));
  for (const [i, id] of ids.entries()) {
    using journal = Journal.create(directory, { ...identity, migration: id });
    if (i === 0) await journal.record(moved);
    if (i === 1) await journal.record(commit);
    if (i === 2) await journal.record({ ...commit, decision: 'abort', settled: true });
  }
  const draft = path.join(directory, `${migration}.source.journal.1.new`);
  writeFileSync(draft, '');
  const dayMs = 86_400_000;
  assert.equal(cleanJournals(directory, dayMs), []);
  using busy = await Journal.open(directory, ids[2]!, 'source');
  utimesSync(draft, 0, 0);
  assert.equal(cleanJournals(directory, dayMs, Date.now() + 2 * dayMs), [ids[0]]);
  busy[Symbol.dispose]();
  assert.equal(cleanJournals(directory, dayMs, Date.now() + 2 * dayMs), [ids[2]]);
  assert.not.ok(existsSync(draft));
  assert.equal(
    listJournals(directory).map((each) => each.migration),
    [ids[1], ids[3]],
  );
});

test('the folder is what was chosen, or GODWIT_STATE, or the default', () => {
  const before = process.env.GODWIT_STATE;
  try {
    delete process.env.GODWIT_STATE;
    assert.is(durableDirectory(), '/var/lib/godwit');
    process.env.GODWIT_STATE = '/elsewhere';
    assert.is(durableDirectory(), '/elsewhere');
    assert.is(durableDirectory('/here'), '/here');
  } finally {
    if (before === undefined) delete process.env.GODWIT_STATE;
    else process.env.GODWIT_STATE = before;
  }
});

test('a folder that others can write, own or replace is refused', ({ directory }) => {
  const fresh = path.join(directory, 'a', 'state');
  openDurableDirectory(fresh);
  assert.is(statSync(fresh).mode & 0o777, 0o700);
  for (const mode of [0o770, 0o702, 0o1777]) {
    chmodSync(fresh, mode);
    assert.throws(() => openDurableDirectory(fresh), isCode('journal-unusable'), mode.toString(8));
  }
  chmodSync(fresh, 0o755);
  openDurableDirectory(fresh);
  chmodSync(path.join(directory, 'a'), 0o777);
  assert.throws(() => openDurableDirectory(fresh), isCode('journal-unusable'), 'a folder above it');
  // Nobody can replace what is another's in a sticky folder.
  chmodSync(path.join(directory, 'a'), 0o1777);
  openDurableDirectory(fresh);
  chownSync(fresh, 65534, 65534);
  assert.throws(() => openDurableDirectory(fresh), isCode('journal-unusable'), "another's");
  const file = path.join(directory, 'file');
  writeFileSync(file, '');
  assert.throws(() => openDurableDirectory(file), isCode('journal-unusable'), 'a file');
  const through = path.join(directory, 'link');
  mkdirSync(path.join(directory, 'open'), { mode: 0o777 });
  chmodSync(path.join(directory, 'open'), 0o777);
  symlinkSync(path.join(directory, 'open'), through);
  assert.throws(() => openDurableDirectory(through), isCode('journal-unusable'), 'through a link');
});

test.run();
