import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { encode } from '../../shared/protocol/codec.js';
import { LocalChannel } from '../../shared/protocol/local.js';
import { type Message, type Received, rejects, schema } from './support/protocol.js';

const options = { schema, peer: 'the child', maxMessageBytes: 4_000_000 };
const echo = 'echo';

/** A child over the unix socket that it inherits as descriptor 3. */
function start(...argv: string[]): { child: ChildProcess; socket: Socket } {
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] });
  return { child, socket: child.stdio[3] as Socket };
}

/** A child that says the given bytes, in pieces of the given size, and then waits for the end. */
function sayer(bytes: Buffer, piece = bytes.length) {
  const script = `
    const socket = new (require('node:net').Socket)({ fd: 3 });
    const bytes = Buffer.from('${bytes.toString('base64')}', 'base64');
    let at = 0;
    const next = () => at < bytes.length && socket.write(bytes.subarray(at, (at += ${piece})), () => setImmediate(next));
    next();
    socket.resume();
    socket.on('end', () => process.exit());`;
  return start('-e', script);
}

function framed(...messages: Message[]): Buffer {
  const frames = messages.map((message) => {
    const bytes = encode(message);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    return Buffer.concat([length, bytes]);
  });
  return Buffer.concat(frames);
}

const ended = (child: ChildProcess) =>
  new Promise<number | null>((resolve) => {
    if (child.exitCode !== null) resolve(child.exitCode);
    else child.once('exit', (code) => resolve(code));
  });

if (process.argv[2] === echo) {
  const channel = new LocalChannel<Received, Message>(3, { ...options, peer: 'the test' });
  channel.onMessage((message) => channel.send(message as Message));
  channel.onEnd(() => process.exit(7));
} else {
  test('messages come back from a process that inherited the socket', async () => {
    const { child, socket } = start(fileURLToPath(import.meta.url), echo);
    const channel = new LocalChannel<Received, Message>(socket, options);
    const bodies = [1, 'two', 3n, BigUint64Array.of(5n), new Uint8Array(3_000_000).fill(6), 'last'];
    for (const body of bodies) channel.send({ kind: 'x', body });
    for (const body of bodies) {
      const { body: arrived } = await channel.receive(5000);
      if (body instanceof Uint8Array) assert.ok(Buffer.from(body).equals(arrived as Uint8Array));
      else assert.equal(arrived, body);
    }
    await channel.close();
    await rejects(channel.receive(), 'link-lost', /closed on this side/);
    assert.is(await ended(child), 7);
  });

  test('the death of the other process ends the channel', async () => {
    const { child, socket } = start(fileURLToPath(import.meta.url), echo);
    const channel = new LocalChannel<Received, Message>(socket, options);
    channel.send({ kind: 'x' });
    await channel.receive(5000);
    const waiting = rejects(
      channel.receive(5000),
      'link-lost',
      /the connection with the child (ended|broke)/,
    );
    child.kill('SIGKILL');
    await waiting;
    assert.throws(() => channel.send({ kind: 'x' }));
    await channel.close();
  });

  test('frames in any pieces', async () => {
    const bytes = framed({ kind: 'a' }, { kind: 'b', body: new Uint8Array(300) }, { kind: 'c' });
    for (const piece of [1, 3, 5, 17, bytes.length]) {
      const { child, socket } = sayer(bytes, piece);
      const channel = new LocalChannel<Received, Message>(socket, options);
      for (const kind of ['a', 'b', 'c']) assert.is((await channel.receive(5000)).kind, kind);
      await channel.close();
      await ended(child);
    }
  });

  test('what breaks the rules ends the channel', async () => {
    const cases: [Buffer, RegExp][] = [
      [Buffer.from('01093d00', 'hex'), /announced a message of 4000001 bytes; the bound is 4000000/],
      [Buffer.from('ffffffff', 'hex'), /announced a message of 4294967295 bytes/],
      [Buffer.from('00000000', 'hex'), /no message: the message ends within a value/],
      [Buffer.from('01000000c1', 'hex'), /no message: the message holds the unused byte c1/],
      [framed({ kind: 5 } as unknown as Message), /invalid message: kind: /],
    ];
    for (const [bytes, text] of cases) {
      const { child, socket } = sayer(
        Buffer.concat([framed({ kind: 'good' }), bytes, framed({ kind: 'late' })]),
      );
      const channel = new LocalChannel<Received, Message>(socket, options);
      assert.is((await channel.receive(5000)).kind, 'good');
      await rejects(channel.receive(5000), 'protocol-violation', text);
      await rejects(channel.receive(), 'protocol-violation', text);
      await ended(child);
    }
  });

  test('an end within a message is told apart', async () => {
    const { socket } = start('-e', "require('node:fs').writeSync(3, Buffer.from([9, 0, 0, 0, 1]))");
    const channel = new LocalChannel<Received, Message>(socket, options);
    await rejects(channel.receive(5000), 'link-lost', /ended within a message/);
    await channel.close();
  });

  test.run();
}
