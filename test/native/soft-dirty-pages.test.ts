/** Pages by their soft-dirty bits and places. What needs no bits is tested on every kernel. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type NativeSentPages, native, RunFlag } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';
import { SourceProcess } from '../../source-agent/source-process.js';
import { StandIn } from '../../source-agent/stand-in.js';
import { Canary } from '../../source-agent/tracker/canary.js';
import { isAvailable } from '../support/trackers.js';
import { channel, descriptorOf, key, socketPair } from './channel.js';
import { PageOwner, PageOwnerProgram, page, protection } from './page-owner.js';

const test = suite<{ program: PageOwnerProgram; owner: PageOwner }>('soft-dirty-pages');
test.before((context) => {
  context.program = new PageOwnerProgram();
});
test.before.each(async (context) => {
  context.owner = await PageOwner.start(context.program);
});
test.after.each(({ owner }) => owner.end());
test.after(({ program }) => program.remove());

const { anonymous } = RunFlag;
const block = 512n * page;
const words = (...given: bigint[]) => BigUint64Array.of(...given);
const tracked = () => new native.SoftDirtyPages(new native.SentPages());
const clear = (pid: number) => writeFileSync(`/proc/${pid}/clear_refs`, '4');
/** The first address that page tables begin at. */
const aligned = (address: bigint) => (address + block - 1n) & -block;

async function markAsSent(owner: PageOwner, runs: BigUint64Array, sent: NativeSentPages): Promise<void> {
  const [client, server] = await socketPair();
  const sender = new native.PageSender({ socket: descriptorOf(client), key, channel, bandwidth: 0 });
  try {
    await sender.gather({ pid: owner.pid, memory: owner.memory, runs, sent });
  } finally {
    sender.close();
    client.destroy();
    server.destroy();
  }
}

test('at first everything with content is due, and after that nothing', async ({ owner }) => {
  const address = await owner.map(64n * page);
  await owner.fill(address + page, 3n * page);
  native.readMemory(owner.pid, address + 9n * page, 4096); // the page of zeros
  await owner.fill(address + 20n * page, page);
  clear(owner.pid);
  const pages = tracked();
  const spans = words(address, address + 64n * page, anonymous);
  const expected = words(
    ...[address + page, address + 4n * page, anonymous],
    ...[address + 20n * page, address + 21n * page, anonymous],
  );
  assert.equal(pages.take(owner.pagemap, spans, 2).runs, expected);
  assert.equal(pages.take(owner.pagemap, spans, 2).runs, words());
  assert.equal((await pages.look(owner.pagemap, spans, 2)).runs, words());
  pages.forget(words(address, address + 2n * page));
  assert.equal(
    pages.take(owner.pagemap, spans, 1).runs,
    words(address + page, address + 2n * page, anonymous),
  );
});

test('pages moved with their page table are due where they are now', async ({ owner }) => {
  const address = aligned(await owner.map(8n * block));
  await owner.fill(address, 2n * block);
  const pages = tracked();
  const spans = words(address, address + 2n * block, anonymous);
  pages.take(owner.pagemap, spans, 2);
  clear(owner.pid);
  // The two blocks change places: each holds what was taken before, and no bit says anything.
  await owner.command('move', address, block, address + 4n * block);
  await owner.command('move', address + block, block, address);
  await owner.command('move', address + 4n * block, block, address + block);
  assert.equal((await pages.look(owner.pagemap, spans, 2)).runs, spans);
  assert.equal(pages.take(owner.pagemap, spans, 2).runs, spans);
  assert.equal(pages.take(owner.pagemap, spans, 2).runs, words());
});

test('what was sent and has no content of its own any more is dropped', async ({ owner, program }) => {
  const path = join(program.folder, 'file');
  writeFileSync(path, Buffer.alloc(8 * 4096, 1));
  const file = BigInt(`0x${await owner.command('mapfile', 8n * page, path)}`);
  const address = await owner.map(16n * page);
  await owner.fill(address, 16n * page);
  await owner.fill(file, 8n * page);
  const spans = [address, address + 16n * page, anonymous, file, file + 8n * page, 0n];
  const sorted = words(...(address < file ? spans : [...spans.slice(3), ...spans.slice(0, 3)]));
  const sent = new native.SentPages();
  const pages = new native.SoftDirtyPages(sent);
  await markAsSent(owner, pages.take(owner.pagemap, sorted, 2).runs, sent);
  await owner.command('drop', address + page, 2n * page);
  native.readMemory(owner.pid, address + page, 4096); // the page of zeros, in the place of one that was sent
  await owner.command('drop', file + 3n * page, page);
  native.readMemory(owner.pid, file + 3n * page, 4096); // the file's again
  const { dropped } = await pages.look(owner.pagemap, sorted, 2);
  const expected = [address + page, address + 3n * page, file + 3n * page, file + 4n * page];
  assert.equal(
    dropped,
    words(...(address < file ? expected : [...expected.slice(2), ...expected.slice(0, 2)])),
  );
});

test('a process without memory is an error', async () => {
  const standIn = StandIn.start();
  const process = SourceProcess.open(standIn.pid);
  standIn[Symbol.dispose]();
  const spans = words(page, 2n * page, anonymous);
  assert.throws(
    () => tracked().take(process.pagemap, spans, 2),
    (error: unknown) => isKernelError(error, 'ESRCH'),
  );
  const error = await tracked()
    .look(process.pagemap, spans, 1)
    .catch((it) => it);
  assert.ok(isKernelError(error, 'ESRCH'));
  process[Symbol.dispose]();
});

if (isAvailable('soft-dirty')) {
  test('what is written is due, whoever writes it', async ({ owner }) => {
    const address = await owner.map(64n * page);
    await owner.fill(address, 64n * page);
    const pages = tracked();
    const spans = words(address, address + 64n * page, anonymous);
    const take = () => {
      const { runs } = pages.take(owner.pagemap, spans, 2);
      clear(owner.pid);
      return runs;
    };
    assert.equal(take(), spans);
    assert.equal(take(), words());
    await owner.fill(address + 2n * page, page, 2);
    native.writeMemory(owner.pid, address + 7n * page, Buffer.from('from outside'));
    await owner.command('protect', address + 9n * page, page, protection.read);
    await owner.command('protect', address + 9n * page, page, protection.readWrite);
    await owner.fill(address + 9n * page, page, 3);
    const due = [2n, 7n, 9n].flatMap((n) => [address + n * page, address + (n + 1n) * page, anonymous]);
    assert.equal((await pages.look(owner.pagemap, spans, 1)).runs, words(...due));
    assert.equal(take(), words(...due));
    assert.equal(take(), words());
  });

  test('somebody else who clears the bits is noticed', () => {
    using standIn = StandIn.start();
    using process = SourceProcess.open(standIn.pid);
    const canary = new Canary(process);
    assert.ok(canary.holds(), 'before there is anything to compare');
    clear(standIn.pid);
    canary.set();
    assert.ok(canary.holds());
    clear(standIn.pid);
    assert.not(canary.holds());
    canary.set();
    assert.ok(canary.holds());
  });
}

test.run();
