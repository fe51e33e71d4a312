import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import { encode } from '../../shared/protocol/codec.js';
import type { ListenOptions } from '../../shared/protocol/listener.js';
import {
  type Message,
  type Received,
  rejects,
  type Session,
  testListener,
  until,
} from './support/protocol.js';
import { proxyTo } from './support/proxy.js';
import { rawControl } from './support/raw-client.js';

async function withSessions(
  run: (client: Session, server: Session) => Promise<void>,
  options: Partial<ListenOptions<Received, Message>> = {},
): Promise<void> {
  const listener = await testListener(options);
  const client = await listener.connect();
  try {
    await run(client, await listener.nextSession());
  } finally {
    await client.control.close();
    await listener.close();
  }
}

/** A caller that holds the secret and does what it likes, and the session it gets. */
async function withStranger(run: (caller: WebSocket, server: Session) => Promise<void>): Promise<void> {
  const listener = await testListener();
  const caller = await rawControl(listener.address, listener.secret, 'godwit.1');
  assert.instance(caller, WebSocket);
  try {
    await run(caller as WebSocket, await listener.nextSession());
  } finally {
    (caller as WebSocket).terminate();
    await listener.close();
  }
}

test('messages arrive in order, both ways, with their types', () =>
  withSessions(async (client, server) => {
    const bodies = [1, 'two', 3n, Uint8Array.of(4), BigUint64Array.of(5n), new Uint8Array(3_000_000).fill(6)];
    for (const body of bodies) client.control.send({ kind: 'there', body });
    for (const body of bodies) server.control.send({ kind: 'back', body });
    for (const body of bodies) {
      const there = await server.control.receive(5000);
      const back = await client.control.receive(5000);
      assert.is(there.kind, 'there');
      assert.is(back.kind, 'back');
      for (const { body: arrived } of [there, back]) {
        if (body instanceof Uint8Array) assert.ok(Buffer.from(body).equals(arrived as Uint8Array));
        else assert.equal(arrived, body);
      }
    }
  }));

test('several receives wait in order, and one that times out leaves the channel open', () =>
  withSessions(async (client, server) => {
    await rejects(server.control.receive(20), 'link-lost', /no message within 20 ms/);
    const [first, second] = [server.control.receive(5000), server.control.receive(5000)];
    client.control.send({ kind: 'a' });
    client.control.send({ kind: 'b' });
    assert.is((await first).kind, 'a');
    assert.is((await second).kind, 'b');
  }));

test('onMessage gets what was unread first, and gives way to receive again', () =>
  withSessions(async (client, server) => {
    for (const kind of ['a', 'b', 'c']) client.control.send({ kind });
    assert.is((await server.control.receive(5000)).kind, 'a');
    const heard: string[] = [];
    server.control.onMessage((message) => heard.push(message.kind));
    client.control.send({ kind: 'd' });
    await until(() => heard.length === 3, 'three messages are heard');
    assert.equal(heard, ['b', 'c', 'd']);
    server.control.onMessage(undefined);
    client.control.send({ kind: 'e' });
    assert.is((await server.control.receive(5000)).kind, 'e');
  }));

test('onUnread tells of messages that nobody waits for, and leaves them to be read', () =>
  withSessions(async (client, server) => {
    const unread: string[] = [];
    server.control.onUnread((message) => unread.push(message.kind));
    const waited = server.control.receive(5000);
    client.control.send({ kind: 'a' });
    client.control.send({ kind: 'b' });
    await until(() => unread.length > 0, 'a message is unread');
    assert.is((await waited).kind, 'a');
    assert.equal(unread, ['b']);
    assert.is((await server.control.receive(5000)).kind, 'b');
  }));

test('what was sent before an orderly close arrives; then both sides know the end', () =>
  withSessions(async (client, server) => {
    client.control.send({ kind: 'last', body: new Uint8Array(1_000_000) });
    await client.control.close();
    assert.is((await server.control.receive(5000)).kind, 'last');
    await rejects(server.control.receive(5000), 'link-lost', /closed by the other side/);
    await rejects(client.control.receive(), 'link-lost', /closed on this side/);
    assert.throws(() => client.control.send({ kind: 'x' }), /closed on this side/);
    assert.throws(() => server.control.send({ kind: 'x' }), /closed by the other side/);
    let told = 0;
    server.control.onEnd(() => {
      told += 1;
    });
    assert.is(told, 1);
  }));

test('an invalid message ends the channel, and its sender learns why', () =>
  withSessions(async (client, server) => {
    const waiting = server.control.receive(5000);
    client.control.send({ kind: 5 } as unknown as Message);
    const error = await rejects(
      waiting,
      'protocol-violation',
      /127\.0\.0\.1:\d+ sent an invalid message: kind: /,
    );
    assert.match(error.message, /^[\x20-\x7e]{1,300}$/);
    await rejects(client.control.receive(5000), 'link-lost', /closed by the other side: .*invalid message/);
    await rejects(server.control.receive(), 'protocol-violation');
  }));

test('bytes that are no message end the channel', () =>
  withStranger(async (caller, server) => {
    caller.send(Buffer.from([0x81, 0xa4]));
    await rejects(server.control.receive(5000), 'protocol-violation', /ends within a value/);
  }));

test('text ends the channel', () =>
  withStranger(async (caller, server) => {
    caller.send('hello');
    await rejects(server.control.receive(5000), 'protocol-violation', /sent text/);
  }));

test('a message over the bound ends the channel; one over the own bound is not sent', () =>
  withSessions(
    async (client, server) => {
      server.control.send({ kind: 'fits', body: new Uint8Array(900) });
      assert.throws(
        () => server.control.send({ kind: 'too long', body: new Uint8Array(1100) }),
        /over the bound of 1000/,
      );
      assert.is((await client.control.receive(5000)).kind, 'fits');
      client.control.send({ kind: 'too long', body: new Uint8Array(1100) });
      await rejects(server.control.receive(5000), 'protocol-violation', /[Pp]ayload/);
      await rejects(client.control.receive(5000), 'link-lost');
    },
    { maxMessageBytes: 1000 },
  ));

test('a flood that nobody reads ends the channel within its bound', () =>
  withSessions(
    async (client, server) => {
      const ended = new Promise<Error>((resolve) => server.control.onEnd(resolve));
      for (let i = 0; i < 5000 && !client.control.ended; i += 1) client.control.send({ kind: 'x' });
      assert.match((await ended).message, /more than anybody reads/);
      let read = 0;
      for (;;) {
        const message = await server.control.receive(5000).catch(() => undefined);
        if (!message) break;
        read += 1;
      }
      assert.ok(read > 10 && read < 200, `${read} messages were kept`);
    },
    { maxMessageBytes: 10_000 },
  ));

test('a message with many values is no way around the bounds', () =>
  withStranger(async (caller, server) => {
    caller.send(Buffer.concat([Buffer.from('dd00500000', 'hex'), Buffer.alloc(0x500000, 0x80)]));
    await rejects(server.control.receive(5000), 'protocol-violation', /more than \d+ values/);
    assert.ok(encode(null).length === 1);
  }));

test('a link that falls silent is noticed by both sides; a live one without messages is kept', async () => {
  const heartbeat = { intervalMs: 40, deadlineMs: 200 };
  const listener = await testListener({ heartbeat });
  const proxy = await proxyTo(listener.address);
  const client = await listener.connect({ ...proxy.address, heartbeat });
  const server = await listener.nextSession();
  await rejects(server.control.receive(600), 'link-lost', /no message within/);
  client.control.send({ kind: 'still here' });
  assert.is((await server.control.receive(5000)).kind, 'still here');
  proxy.hush();
  await Promise.all([
    rejects(client.control.receive(5000), 'link-lost', /is dead: 200 ms of silence/),
    rejects(server.control.receive(5000), 'link-lost', /is dead: 200 ms of silence/),
  ]);
  await proxy.close();
  await listener.close();
});

test('a reset link is noticed at once', async () => {
  const listener = await testListener();
  const proxy = await proxyTo(listener.address);
  const client = await listener.connect(proxy.address);
  const server = await listener.nextSession();
  const both = Promise.all([
    rejects(client.control.receive(5000), 'link-lost', /broke \(ECONNRESET\)|without a word/),
    rejects(server.control.receive(5000), 'link-lost', /broke \(ECONNRESET\)|without a word/),
  ]);
  proxy.cut();
  await both;
  await proxy.close();
  await listener.close();
});

test.run();
