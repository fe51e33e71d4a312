import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { native, RunFlag } from '../../native/index.js';
import { channel, descriptorOf, key, socketPair } from './channel.js';
import { PageOwner, PageOwnerProgram, page } from './page-owner.js';

test('remembers what was sent, in merged ranges, across chunk borders', async () => {
  const program = new PageOwnerProgram();
  const owner = await PageOwner.start(program);
  const [client, server] = await socketPair();
  const sender = new native.PageSender({ socket: descriptorOf(client), key, channel, bandwidth: 0 });
  try {
    const address = await owner.map(8n << 20n);
    await owner.fill(address, 8n << 20n);
    // across a border of 2 MB
    const border = (address + (2n << 20n)) & ~((2n << 20n) - 1n);
    const start = border - 3n * page;
    const end = border + 70n * page;
    const sent = new native.SentPages();
    assert.is(sent.count, 0);
    assert.equal(sent.all(), new BigUint64Array());
    const payloads = await sender.gather({
      pid: owner.pid,
      memory: owner.memory,
      runs: BigUint64Array.of(start, end, RunFlag.anonymous),
      sent,
    });
    assert.is(payloads.result.pages, 73);
    assert.is(sent.count, 73);
    assert.equal(sent.all(), BigUint64Array.of(start, end));
    const outside = BigUint64Array.of(0n, start, start + page, border + page, end, 1n << 47n);
    assert.equal(sent.select(outside), BigUint64Array.of(start + page, border + page));
    sent.forget(BigUint64Array.of(border - page, border + page, border + 64n * page, 1n << 47n));
    assert.is(sent.count, 2 + 63);
    assert.equal(sent.all(), BigUint64Array.of(start, border - page, border + page, border + 64n * page));
    sent.forget(BigUint64Array.of(0n, 1n << 47n));
    assert.is(sent.count, 0);
    assert.equal(sent.all(), new BigUint64Array());
  } finally {
    sender.close();
    client.destroy();
    server.destroy();
    await owner.end();
    program.remove();
  }
});

test.run();
