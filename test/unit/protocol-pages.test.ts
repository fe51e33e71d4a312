import { closeSync, readdirSync } from 'node:fs';
import { connect as connectTcp, Socket } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PageChannel } from '../../shared/protocol/handshake.js';
import { rejects, type Session, type TestListener, testListener, until } from './support/protocol.js';
import { type Middleman, proxyTo } from './support/proxy.js';
import { say } from './support/raw-client.js';

interface World {
  listener: TestListener;
  proxy: Middleman;
  client: Session;
  server: Session;
}

/** A session whose connections all go through a middleman. */
async function withSession(run: (world: World) => Promise<void>): Promise<void> {
  const listener = await testListener();
  const proxy = await proxyTo(listener.address);
  const client = await listener.connect(proxy.address);
  const server = await listener.nextSession();
  try {
    await run({ listener, proxy, client, server });
  } finally {
    await client.control.close();
    await proxy.close();
    await listener.close();
  }
}

/** Sends bytes on a taken descriptor and collects as many from the other one. */
async function carry(from: Socket, to: Socket, bytes: Buffer): Promise<Buffer> {
  const heard: Buffer[] = [];
  let length = 0;
  const done = new Promise<void>((resolve, reject) => {
    to.on('data', (chunk) => {
      heard.push(chunk);
      length += chunk.length;
      if (length >= bytes.length) resolve();
    });
    to.on('close', () => reject(new Error(`closed after ${length} bytes`)));
  });
  from.write(bytes);
  await done;
  return Buffer.concat(heard);
}

const overDescriptor = ({ descriptor }: PageChannel) =>
  new Socket({ fd: descriptor, readable: true, writable: true });

function closeBoth(channels: PageChannel[]): void {
  for (const { descriptor } of channels) closeSync(descriptor);
}

/** Sockets of this process: a descriptor that leaks shows here. */
function openSockets(): number {
  return readdirSync('/proc/self/fd').length;
}

test('the two raw sockets are one connection, with equal keys, alive beyond the session', async () => {
  const listener = await testListener();
  const client = await listener.connect();
  const server = await listener.nextSession();
  const [mine, theirs] = await Promise.all([client.pageChannel(3), server.pageChannel(3)]);
  assert.is(mine.channel, 3);
  assert.is(theirs.channel, 3);
  assert.is(mine.key.length, 16);
  assert.ok(Buffer.from(mine.key).equals(theirs.key));
  // Whatever ws or Node still mean to do to the connection has its chance now.
  await client.control.close();
  await listener.close();
  const [a, b] = [overDescriptor(mine), overDescriptor(theirs)];
  const bytes = Buffer.alloc(2_000_000, 'page');
  assert.ok((await carry(a, b, bytes)).equals(bytes));
  b.removeAllListeners('close');
  assert.ok((await carry(b, a, bytes)).equals(bytes));
  a.removeAllListeners('close');
  a.destroy();
  b.destroy();
});

test('bytes that follow the handshake at once are all there for the taker', async () => {
  const listener = await testListener();
  const client = await listener.connect();
  const server = await listener.nextSession();
  for (let channel = 0; channel < 20; channel += 1) {
    const mine = await client.pageChannel(channel);
    const a = overDescriptor(mine);
    const bytes = Buffer.alloc(100_000, channel + 1);
    a.write(bytes);
    const b = overDescriptor(await server.pageChannel(channel));
    const heard: Buffer[] = [];
    a.end();
    for await (const chunk of b) heard.push(chunk as Buffer);
    assert.ok(Buffer.concat(heard).equals(bytes), `channel ${channel}`);
    a.destroy();
  }
  await client.control.close();
  await listener.close();
});

test('several channels in any order, each with a key of its own', () =>
  withSession(async ({ client, server }) => {
    const waiting = [server.pageChannel(1), server.pageChannel(0)];
    const mine = [await client.pageChannel(0), await client.pageChannel(1), await client.pageChannel(63)];
    const theirs = [...(await Promise.all(waiting)), await server.pageChannel(63)];
    assert.equal(
      theirs.map(({ channel }) => channel),
      [1, 0, 63],
    );
    const hex = ({ key }: PageChannel) => Buffer.from(key).toString('hex');
    assert.equal(mine.map(hex).sort(), theirs.map(hex).sort());
    assert.is(new Set(mine.map(hex)).size, 3);
    closeBoth([...mine, ...theirs]);
  }));

test('sessions do not share keys', async () => {
  const listener = await testListener();
  const keys = new Set<string>();
  for (let i = 0; i < 2; i += 1) {
    const client = await listener.connect();
    const server = await listener.nextSession();
    const channels = await Promise.all([client.pageChannel(0), server.pageChannel(0)]);
    for (const { key } of channels) keys.add(Buffer.from(key).toString('hex'));
    closeBoth(channels);
    await client.control.close();
  }
  assert.is(keys.size, 2);
  await listener.close();
});

test('numbers out of range, or asked for twice', () =>
  withSession(async ({ client, server }) => {
    for (const channel of [-1, 64, 1.5, Number.NaN]) {
      for (const session of [client, server]) {
        const error = await session.pageChannel(channel).catch((reason: unknown) => reason);
        assert.instance(error, RangeError);
      }
    }
    const channels = await Promise.all([client.pageChannel(0), server.pageChannel(0)]);
    for (const session of [client, server]) {
      assert.instance(await session.pageChannel(0).catch((reason: unknown) => reason), RangeError);
    }
    closeBoth(channels);
  }));

test('a request that was overheard does not open the channel again', () =>
  withSession(async ({ listener, proxy, client, server }) => {
    closeBoth(await Promise.all([client.pageChannel(0), server.pageChannel(0)]));
    const request = proxy.said[1]!.toString();
    assert.match(request, /^GET \/pages\?session=[0-9a-f]{32}&channel=0 HTTP\/1\.1\r\n/);
    for (const word of [
      request,
      request.replace('channel=0', 'channel=1'),
      request.replace('channel=0', 'channel=64'),
      request.replace('channel=0', 'channel=00'),
    ]) {
      assert.match((await say(listener.address, word)).toString(), /^HTTP\/1\.1 403 /);
    }
    assert.is(listener.log.length, 4);
    assert.match(listener.log[0]!, /asked for a page channel that is not open to it/);
    closeBoth(await Promise.all([client.pageChannel(1), server.pageChannel(1)]));
  }));

test('a wrong token or session opens nothing, and does not use the channel up', () =>
  withSession(async ({ listener, proxy, client, server }) => {
    proxy.hush();
    await rejects(client.pageChannel(0, 50), 'target-unreachable', /does not answer/);
    const request = proxy.said[1]!.toString();
    const flip = (text: string, at: number) =>
      text.slice(0, at) + (text[at] === '0' ? '1' : '0') + text.slice(at + 1);
    const token = request.search(/Bearer /) + 'Bearer '.length;
    assert.ok(token > 'Bearer '.length);
    const wrong = [
      flip(request, token),
      flip(request, token + 63),
      flip(request, request.indexOf('session=') + 8),
      request.replace(/Bearer \S+/, 'Bearer '),
      request.replace(/Bearer \S+/, `Bearer ${'0'.repeat(64)}`),
      request.replace(/authorization.*\r\n/i, ''),
    ];
    for (const word of wrong) {
      assert.not.equal(word, request);
      assert.match((await say(listener.address, word)).toString(), /^HTTP\/1\.1 403 /);
    }
    // Bytes that come together with the request were never asked for.
    assert.match((await say(listener.address, `${request}early`)).toString(), /^HTTP\/1\.1 403 /);
    const channel = server.pageChannel(0);
    const socket = connectTcp(listener.address, () => socket.write(request));
    const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
    assert.match(answer.toString(), /^HTTP\/1\.1 101 /);
    closeSync((await channel).descriptor);
    socket.destroy();
  }));

test('a channel that nobody opens is not waited for any longer than was said', () =>
  withSession(async ({ client, server }) => {
    await rejects(server.pageChannel(0, 20), 'link-lost', /did not open page channel 0 within 20 ms/);
    closeBoth(await Promise.all([client.pageChannel(0), server.pageChannel(0)]));
  }));

test('with the session go its waits, its tokens, and the channels that nobody took', async () => {
  const listener = await testListener();
  const client = await listener.connect();
  const server = await listener.nextSession();
  const before = openSockets();
  const mine = [await client.pageChannel(0), await client.pageChannel(1)];
  await until(() => openSockets() === before + 4, 'both channels have arrived');
  const waiting = rejects(server.pageChannel(2, 5000), 'link-lost');
  await client.control.close();
  await waiting;
  await rejects(server.pageChannel(0), 'link-lost');
  // The session's own two sockets are gone as well.
  await until(() => openSockets() === before, 'only what was handed out is open');
  await rejects(client.pageChannel(3), 'authentication-failed', /refused the channel \(403\)/);
  closeBoth(mine);
  await listener.close();
});

test.run();
