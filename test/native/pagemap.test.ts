import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { native, PageCategory, ScanMode } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';
import { skip } from '../support/skips.js';
import { repetitions } from '../support/time.js';
import { PageOwner, PageOwnerProgram, page, protection } from './page-owner.js';

// What is tested here depends on the kernel: asked once, of a program that is ended again.
const { scans, tracks, guards } = await (async () => {
  const program = new PageOwnerProgram();
  const owner = await PageOwner.start(program);
  const scans = owner.scans;
  const found = {
    scans,
    tracks: scans && (await owner.supports('track')),
    guards: await owner.supports('guard'),
  };
  await owner.end();
  program.remove();
  return found;
})();

const test = suite<{ program: PageOwnerProgram; owner: PageOwner }>('pagemap');
test.before((context) => {
  context.program = new PageOwnerProgram();
});
test.before.each(async (context) => {
  context.owner = await PageOwner.start(context.program);
});
test.after.each(({ owner }) => owner.end());
test.after(({ program }) => program.remove());

type Body = Parameters<typeof test>[1];
const trackingTest = (name: string, body: Body) => {
  if (tracks) test(name, body);
  else skip('asynchronous-write-protect', name);
};
const scanTest = (name: string, body: Body) => {
  if (scans) test(name, body);
  else skip('pagemap-scan', name);
};
const { present } = PageCategory;
const span = (...words: bigint[]) => BigUint64Array.of(...words);

trackingTest('collect finds what was written once, and protects it again', async ({ owner }) => {
  const bytes = 64n * page;
  const address = await owner.map(bytes);
  await owner.command('track', address, bytes);
  const collect = () => native.scanPages(owner.pagemap, span(address, address + bytes), ScanMode.collect);
  assert.equal(collect().pages, span());
  await owner.fill(address + 2n * page, 3n * page);
  await owner.fill(address + 9n * page, page);
  const found = collect();
  const first = [address + 2n * page, address + 5n * page, present] as const;
  assert.equal(found.pages, span(...first, address + 9n * page, address + 10n * page, present));
  assert.equal(found.untracked, span());
  assert.equal(collect().pages, span());
  await owner.fill(address + 3n * page, page, 2);
  assert.equal(collect().pages, span(address + 3n * page, address + 4n * page, present));
});

trackingTest('collect tells the zero page', async ({ owner }) => {
  const bytes = 16n * page;
  const address = await owner.map(bytes);
  await owner.fill(address, bytes);
  await owner.command('track', address, bytes);
  await owner.command('drop', address + 4n * page, 2n * page);
  native.readMemory(owner.pid, address + 5n * page, 4096); // the zero page, where a dropped one was
  const found = native.scanPages(owner.pagemap, span(address, address + bytes), ScanMode.collect).pages;
  assert.equal(found, span(address + 5n * page, address + 6n * page, present | PageCategory.zero));
});

trackingTest('final sees writes without taking them, and dropped pages as category 0', async ({ owner }) => {
  const bytes = 64n * page;
  const address = await owner.map(bytes);
  await owner.fill(address, bytes);
  await owner.command('track', address, bytes);
  await owner.fill(address + 4n * page, 4n * page, 2);
  await owner.command('drop', address + 6n * page, 8n * page);
  await owner.fill(address + 40n * page, page, 2);
  const expected = span(
    ...[address + 4n * page, address + 6n * page, present],
    ...[address + 6n * page, address + 14n * page, 0n],
    ...[address + 40n * page, address + 41n * page, present],
  );
  for (let i = 0; i < 2; i++) {
    const result = native.scanPages(owner.pagemap, span(address, address + bytes), ScanMode.final);
    assert.equal(result.pages, expected);
    assert.equal(result.untracked, span());
  }
});

/** By PAGEMAP_SCAN where the kernel has it, and by reading, which every kernel has. */
const contentModes = [
  ['content', ScanMode.content],
  ['content by reading', ScanMode.contentByReading],
] as const;

for (const [name, mode] of contentModes) {
  test(`${name} leaves out holes, the zero page, file pages and guard pages`, async ({ owner, program }) => {
    const bytes = 32n * page;
    const address = await owner.map(bytes);
    await owner.fill(address + page, 2n * page);
    native.readMemory(owner.pid, address + 8n * page, 4096); // maps the zero page
    await owner.fill(address + 20n * page, page);
    if (guards) await owner.command('guard', address + 24n * page, 2n * page);
    else skip('guard-pages', 'MADV_GUARD_INSTALL is refused');
    const path = join(program.folder, 'file');
    writeFileSync(path, Buffer.alloc(8 * 4096, 1));
    const file = BigInt(`0x${await owner.command('mapfile', 8n * page, path)}`);
    native.readMemory(owner.pid, file, 8 * 4096);
    await owner.fill(file + 3n * page, page);
    const spans = [span(address, address + bytes), span(file, file + 8n * page)];
    const [anonymous, copied] = spans.map((it) => native.scanPages(owner.pagemap, it, mode));
    assert.equal(
      anonymous!.pages,
      span(address + page, address + 3n * page, present, address + 20n * page, address + 21n * page, present),
    );
    assert.equal(copied!.pages, span(file + 3n * page, file + 4n * page, present));
  });
}

trackingTest('an untracked mapping is reported, and nothing beside it is lost', async ({ owner }) => {
  const part = 16n * page;
  const address = await owner.map(3n * part);
  const [a, b, c] = [address, address + part, address + 2n * part];
  await owner.fill(address, 3n * part);
  await owner.command('track', address, 3n * part);
  await owner.fill(a + page, page, 2);
  await owner.fill(c + page, page, 2);
  await owner.map(part, protection.readWrite, b);
  await owner.fill(b, page);
  // Three touching spans are one call to the kernel, which protects the first before it fails at the second.
  const spans = span(a, b, b, c, c, c + part);
  const expected = span(a + page, a + 2n * page, present, c + page, c + 2n * page, present);
  const final = native.scanPages(owner.pagemap, spans, ScanMode.final);
  assert.equal(final.pages, expected);
  assert.equal(final.untracked, span(b, c));
  const collected = native.scanPages(owner.pagemap, spans, ScanMode.collect);
  assert.equal(collected.pages, expected);
  assert.equal(collected.untracked, span(b, c));
  assert.equal(native.scanPages(owner.pagemap, spans, ScanMode.collect).pages, span());
});

scanTest('an empty span of 64 GB costs next to nothing', async ({ owner }) => {
  const bytes = 64n << 30n;
  const address = await owner.map(bytes);
  await owner.fill(address + (33n << 30n), page);
  const at = address + (33n << 30n);
  const before = process.memoryUsage.rss();
  const found = native.scanPages(owner.pagemap, span(address, address + bytes), ScanMode.content);
  assert.equal(found.pages, span(at, at + page, present));
  assert.ok(process.memoryUsage.rss() - before < 32 << 20);
});

scanTest('results of any number of ranges and threads are whole and in order', async ({ owner }) => {
  const bytes = 160n << 20n;
  const address = await owner.map(bytes);
  // 10,000 single pages: more than one call's worth of regions
  const expected: bigint[] = [];
  for (let i = 0n; i < repetitions(100); i++) {
    const start = address + i * 400n * page;
    await owner.fill(start, 200n * page);
    for (let k = 0n; k < 200n; k += 2n) {
      expected.push(start + k * page, start + (k + 1n) * page, present);
    }
  }
  for (let i = 0; i < expected.length; i += 3) await owner.command('drop', expected[i + 1]!, page);
  const spans = span(address, address + bytes);
  for (const [, mode] of contentModes) {
    assert.equal(native.scanPages(owner.pagemap, spans, mode).pages, span(...expected));
    for (const threads of [1, 2, 4]) {
      const result = await native.scanPagesAsync(owner.pagemap, spans, mode, threads);
      assert.equal(result.pages, span(...expected));
    }
  }
  assert.equal((await native.scanPagesAsync(owner.pagemap, span(), ScanMode.content, 2)).pages, span());
});

// A kernel without the category of guard pages tells so at the first scan: here to several threads at once.
scanTest('threads that scan first all cope with what the kernel does not know', async ({ owner }) => {
  const bytes = 256n << 20n;
  const address = await owner.map(bytes);
  await owner.fill(address + (200n << 20n), page);
  const spans = span(address, address + bytes);
  const source = `
    import { openSync } from 'node:fs';
    import { native, ScanMode } from ${JSON.stringify(new URL('../../native/index.js', import.meta.url).href)};
    const pagemap = openSync('/proc/${owner.pid}/pagemap', 'r');
    const { pages } = await native.scanPagesAsync(pagemap, BigUint64Array.of(${spans.join('n, ')}n), ScanMode.content, 4);
    console.log(pages.join(' '));`;
  for (let i = 0; i < 3; i += 1) {
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8' });
    const start = address + (200n << 20n);
    assert.is(said, `${start} ${start + page} ${present}\n`);
  }
});

scanTest('a descriptor that is no pagemap fails as KernelError', async ({ owner }) => {
  const spans = span(page, 2n * page);
  assert.throws(
    () => native.scanPages(owner.memory, spans, ScanMode.content),
    (error: unknown) => isKernelError(error, 'ENOTTY') && error.syscall === 'ioctl(PAGEMAP_SCAN)',
  );
  const error = await native.scanPagesAsync(owner.memory, spans, ScanMode.content, 2).catch((it) => it);
  assert.ok(isKernelError(error, 'ENOTTY'));
});

test('memory is read and written; what is not mapped is EFAULT', async ({ owner }) => {
  const address = await owner.map(4n * page);
  native.writeMemory(owner.pid, address + 4090n, Buffer.from('across pages'));
  assert.is(native.readMemory(owner.pid, address + 4090n, 12).toString(), 'across pages');
  await owner.command('unmap', address + 3n * page, page);
  assert.throws(
    () => native.readMemory(owner.pid, address, 4 * 4096),
    (error: unknown) => isKernelError(error, 'EFAULT') && error.pid === owner.pid,
  );
  assert.throws(
    () => native.writeMemory(owner.pid, address + 3n * page - 2n, Buffer.alloc(4)),
    (error: unknown) => isKernelError(error, 'EFAULT'),
  );
});

test.run();
