import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { WebSocket } from 'ws';
import type { Address } from '../../shared/protocol/address.js';
import { tlsOptions } from '../../shared/protocol/handshake.js';
import { generator, newSecret, rejects, type TestListener, testListener, until } from './support/protocol.js';
import { proxyTo } from './support/proxy.js';
import { rawControl, rawTls, say } from './support/raw-client.js';

async function withServer(server: Server, run: (address: Address) => Promise<void>): Promise<void> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await run({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
}

const call = (address: Address, timeoutMs = 5000) => testCaller.connect({ ...address, timeoutMs });
let testCaller: TestListener;
test.before(async () => {
  testCaller = await testListener();
});
test.after(() => testCaller.close());

/** The listener still serves who holds the secret. */
async function stillServes(listener: TestListener): Promise<void> {
  const client = await listener.connect();
  const server = await listener.nextSession();
  client.control.send({ kind: 'alive' });
  assert.is((await server.control.receive(5000)).kind, 'alive');
  await client.control.close();
}

test('the right secret: both sides name each other', async () => {
  const listener = await testListener();
  const client = await listener.connect();
  const server = await listener.nextSession();
  assert.is(client.peer, `127.0.0.1:${listener.address.port}`);
  assert.match(server.peer, /^127\.0\.0\.1:\d+$/);
  assert.equal(listener.log, []);
  await client.control.close();
  await listener.close();
});

test('over IPv6', async () => {
  const listener = await testListener({ host: '::1' });
  await stillServes(listener);
  await listener.close();
});

test('a wrong secret: told on both sides, before any request', async () => {
  const listener = await testListener();
  const error = await rejects(
    listener.connect({ secret: newSecret() }),
    'authentication-failed',
    /^127\.0\.0\.1:\d+ does not hold the same secret/,
  );
  assert.is(error.subject.object, `127.0.0.1:${listener.address.port}`);
  await until(() => listener.log.length > 0, 'the listener logs it');
  assert.match(
    listener.log[0]!,
    /^127\.0\.0\.1:\d+ did not authenticate \(ERR_SSL_BINDER_DOES_NOT_VERIFY\)$/,
  );
  const { key } = newSecret();
  await rejects(listener.connect({ secret: { identity: 'x', key } }), 'authentication-failed');
  await stillServes(listener);
  await listener.close();
});

test('a middleman cannot read or join: he sees no key and no token of the control channel', async () => {
  const listener = await testListener();
  const proxy = await proxyTo(listener.address);
  const client = await listener.connect(proxy.address);
  client.control.send({ kind: 'plain-text-marker' });
  await (await listener.nextSession()).control.receive(5000);
  assert.not.ok(proxy.said[0]!.includes('plain-text-marker'));
  assert.not.ok(proxy.said[0]!.includes('/control'));
  assert.not.ok(proxy.said[0]!.includes(listener.secret.key));
  await client.control.close();
  await proxy.close();
  await listener.close();
});

test('a server with a certificate in place of the secret is refused', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'godwit-certificate-'));
  const [key, certificate] = [join(folder, 'key'), join(folder, 'certificate')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '1'];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const files = ['-keyout', key, '-out', certificate];
  execFileSync('openssl', ['req', '-x509', ...curve, ...subject, ...files], { stdio: 'ignore' });
  const server = createHttpsServer({ key: readFileSync(key), cert: readFileSync(certificate) });
  rmSync(folder, { recursive: true });
  let asked = false;
  server.on('upgrade', () => {
    asked = true;
  });
  await withServer(server, async (address) => {
    await rejects(call(address), 'authentication-failed', /did not authenticate/);
  });
  assert.not.ok(asked);
});

test('another version is named on both sides', async () => {
  const listener = await testListener();
  const answer = await rawControl(listener.address, listener.secret, 'godwit.2');
  assert.not.instance(answer, WebSocket);
  const { status, headers } = answer as { status: number; headers: Record<string, unknown> };
  assert.is(status, 426);
  assert.is(headers['godwit-protocol'], 'godwit.1');
  assert.match(listener.log[0]!, /speaks godwit\.2, this side godwit\.1/);
  const both = await rawControl(listener.address, listener.secret, ['godwit.2', 'godwit.1']);
  assert.is((both as WebSocket).protocol, 'godwit.1');
  await (await listener.nextSession()).control.close();
  await stillServes(listener);
  await listener.close();

  const newer = createHttpsServer({ ...tlsOptions, pskCallback: () => testCaller.secret.key });
  newer.on('upgrade', (_request, socket) => {
    socket.end('HTTP/1.1 426 Upgrade Required\r\ngodwit-protocol: godwit.2\r\nConnection: close\r\n\r\n');
  });
  await withServer(newer, async (address) => {
    await rejects(call(address), 'protocol-mismatch', /this side speaks godwit\.1, 127.*speaks godwit\.2/);
  });
});

test('authenticated callers get nothing but /control', async () => {
  const listener = await testListener();
  const answer = await rawControl(listener.address, listener.secret, 'godwit.1', '/other');
  assert.is((answer as { status: number }).status, 404);
  const tls = await rawTls(listener.address, listener.secret);
  tls.write('GET /control HTTP/1.1\r\nHost: x\r\n\r\n');
  const heard: Buffer[] = [];
  tls.on('data', (chunk) => heard.push(chunk));
  await new Promise((resolve) => tls.once('close', resolve));
  assert.is(Buffer.concat(heard).length, 0);
  await listener.close();
});

test('targets that cannot be reached are named', async () => {
  let free = { host: '127.0.0.1', port: 0 };
  await withServer(createServer(), async (address) => {
    free = address;
  });
  await rejects(
    call(free),
    'target-unreachable',
    new RegExp(`^127\\.0\\.0\\.1:${free.port} refuses connections`),
  );
  await rejects(
    call({ host: 'nowhere.invalid', port: 7777 }),
    'target-unreachable',
    /^nowhere\.invalid:7777 /,
  );
  await withServer(createServer(), async (address) => {
    await rejects(call(address, 100), 'target-unreachable', /does not answer/);
  });
  await withServer(
    createServer((socket) => socket.end('SSH-2.0-OpenSSH_9.2p1\r\n')),
    async (address) => {
      await rejects(call(address), 'target-unreachable', /no godwit agent/);
    },
  );
  await withServer(
    createServer((socket) => socket.destroy()),
    async (address) => {
      await rejects(call(address), 'target-unreachable', /closed the connection/);
    },
  );
  const mute = createHttpsServer({ ...tlsOptions, pskCallback: () => testCaller.secret.key });
  mute.on('upgrade', () => {});
  await withServer(mute, async (address) => {
    await rejects(call(address, 100), 'target-unreachable', /does not answer/);
  });
});

test('a port that is taken', async () => {
  await rejects(testListener({ port: testCaller.address.port }), 'usage', /cannot listen on 127.*EADDRINUSE/);
});

test('whatever else is said on the port is dropped without an answer', async () => {
  const listener = await testListener({ authenticationTimeoutMs: 3000 });
  const words = [
    'SSH-2.0-OpenSSH_9.2p1\r\n',
    '\0\0\0\0',
    'POST /pages HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /control HTTP/1.1\r\nHost: x\r\n\r\n',
  ];
  for (const word of words) assert.is((await say(listener.address, word)).length, 0, word);
  const upgrade = 'Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n';
  for (const path of ['/control', '/pages', '/pages?session=x&channel=0']) {
    const answer = await say(listener.address, `GET ${path} HTTP/1.1\r\n${upgrade}\r\n`);
    assert.match(answer.toString(), /^HTTP\/1\.1 403 /, path);
  }
  const long = await say(listener.address, `GET /pages HTTP/1.1\r\nX: ${'x'.repeat(1_000_000)}\r\n\r\n`);
  assert.not.match(long.toString(), /^HTTP\/1\.1 (101|2)/);
  await stillServes(listener);
  await listener.close();
});

test('slow callers lose their connection at each step, and the place they took', async () => {
  const listener = await testListener({ authenticationTimeoutMs: 150, maxUnauthenticated: 6 });
  const { address, secret } = listener;
  const drip = new Promise<void>((resolve) => {
    const socket = connectTcp(address, () => socket.write('GET /pages HTTP/1.1\r\n'));
    const timer = setInterval(() => socket.write('X: y\r\n'), 20);
    socket.on('error', () => {});
    socket.on('close', () => {
      clearInterval(timer);
      resolve();
    });
  });
  const hello = Buffer.from('1603010200010001fc0303', 'hex');
  const authenticated = await rawTls(address, secret);
  authenticated.resume();
  await Promise.all([
    drip,
    say(address, ''),
    say(address, 'G'),
    say(address, 'GET / HTTP/1.1\r\nX'),
    say(address, hello),
    new Promise((resolve) => authenticated.once('close', resolve)),
  ]);
  assert.is(listener.log.filter((line) => line.includes('within 150 ms')).length, 6, listener.log.join('\n'));
  await stillServes(listener);
  await listener.close();
});

test('only so many may try at a time; those who have authenticated do not count', async () => {
  const listener = await testListener({ maxUnauthenticated: 2 });
  const clients = [];
  for (let i = 0; i < 4; i += 1) clients.push(await listener.connect());
  const open = () =>
    new Promise<Socket>((resolve) => {
      const socket = connectTcp(listener.address, () => resolve(socket));
      socket.on('error', () => {});
    });
  const silent = [await open(), await open()];
  assert.is((await say(listener.address, '')).length, 0);
  await until(
    () => listener.log.some((line) => line.includes('2 connections are waiting')),
    'a third is dropped',
  );
  await rejects(listener.connect(), 'target-unreachable', /closed the connection/);
  const closed = silent.map((socket) => new Promise((resolve) => socket.once('close', resolve)));
  for (const socket of silent) socket.destroy();
  await Promise.all(closed);
  let again = await listener.connect().catch(() => undefined);
  for (let tries = 0; !again && tries < 100; tries += 1)
    again = await listener.connect().catch(() => undefined);
  assert.ok(again);
  for (const client of [...clients, again!]) await client.control.close();
  await listener.close();
});

test('garbage of all kinds: the listener goes on', async () => {
  const seed = 4711;
  const random = generator(seed);
  const listener = await testListener({ authenticationTimeoutMs: 300 });
  const proxy = await proxyTo(listener.address);
  const client = await listener.connect(proxy.address);
  const server = await listener.nextSession();
  await Promise.all([client.pageChannel(0), server.pageChannel(0)]).then((channels) => {
    for (const { descriptor } of channels) closeSync(descriptor);
  });
  const [hello, pages] = proxy.said as [Buffer, Buffer];
  assert.is(hello[0], 0x16);
  assert.is(pages[0], 0x47);
  const attempts = Array.from({ length: 300 }, (_, round) => {
    const kind = round % 4;
    const bytes = Buffer.from(kind === 0 ? hello : kind === 1 ? pages : Buffer.alloc(1 + random(600)));
    if (kind >= 2) for (let i = 0; i < bytes.length; i += 1) bytes[i] = random(256);
    if (kind === 2) bytes[0] = 0x16;
    if (kind === 3) bytes.write('GET /pages?session=');
    for (let i = random(8); i > 0; i -= 1) bytes[random(bytes.length)] = random(256);
    return bytes.subarray(0, 1 + random(bytes.length));
  });
  for (let i = 0; i < attempts.length; i += 50) {
    await Promise.all(attempts.slice(i, i + 50).map((bytes) => say(listener.address, bytes)));
  }
  client.control.send({ kind: `survived seed ${seed}` });
  assert.is((await server.control.receive(5000)).kind, `survived seed ${seed}`);
  await stillServes(listener);
  await client.control.close();
  await proxy.close();
  await listener.close();
});

test.run();
