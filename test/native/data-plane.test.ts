import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type NativePageReceiver, native, RunFlag } from '../../native/index.js';
import { isKernelError, type KernelError } from '../../shared/errors.js';
import { FrameKind, frameTagBytes, maxFrameBodyBytes, RunKind } from '../../shared/page-frames.js';
import { bodyOf, channel, descriptorOf, frameOf, key, messageOf, socketPair } from './channel.js';
import { PageOwner, PageOwnerProgram, page, protection } from './page-owner.js';

interface Context {
  program: PageOwnerProgram;
  source: PageOwner;
  target: PageOwner;
  client: Socket;
  server: Socket;
}
const test = suite<Context>('data plane');
test.before((context) => {
  context.program = new PageOwnerProgram();
});
test.before.each(async (context) => {
  context.source = await PageOwner.start(context.program);
  context.target = await PageOwner.start(context.program);
  [context.client, context.server] = await socketPair();
});
test.after.each(async ({ source, target, client, server }) => {
  client.destroy();
  server.destroy();
  await source.end();
  await target.end();
});
test.after(({ program }) => program.remove());

const bytes = 256n * page;
const size = Number(bytes);

function startSender(context: Context, bandwidth = 0) {
  return new native.PageSender({ socket: descriptorOf(context.client), key, channel, bandwidth });
}

function startReceiver(context: Context) {
  const compressed: Buffer[] = [];
  let wake = () => {};
  let onEnd: (error: Error | null) => void = () => {};
  const ended = new Promise<Error | null>((resolve) => {
    onEnd = resolve;
  });
  const receiver = new native.PageReceiver({
    socket: descriptorOf(context.server),
    key,
    channel,
    onCompressed: (payload) => {
      compressed.push(payload);
      wake();
    },
    onEnd,
  });
  const nextCompressed = async () => {
    while (compressed.length === 0) await new Promise<void>((resolve) => (wake = resolve));
    return compressed.shift()!;
  };
  return { receiver, ended, nextCompressed };
}

/** The same range mapped in both processes; empty in the target. */
async function mapBoth({ source, target }: Context): Promise<bigint> {
  const address = await source.map(bytes);
  assert.is(await target.map(bytes, protection.readWrite, address), address);
  return address;
}

function landIn(receiver: NativePageReceiver, target: PageOwner, address: bigint) {
  receiver.setAllowed(
    BigUint64Array.of(address, address + bytes / 2n, address + bytes / 2n, address + bytes),
  );
  receiver.setTarget(target.memory, -1);
}

const runs = (...words: bigint[]) => BigUint64Array.of(...words);

test('pages arrive as they are; zeros travel only over what was sent before', async (context) => {
  const { source, target } = context;
  const address = await mapBoth(context);
  await source.fill(address, bytes);
  await source.command('zero', address + 10n * page, 5n * page);
  const { receiver, ended } = startReceiver(context);
  const sender = startSender(context);
  landIn(receiver, target, address);
  const sent = new native.SentPages();
  const request = { pid: source.pid, memory: source.memory, sent };
  const all = runs(address, address + bytes, RunFlag.anonymous);
  const first = await sender.send({ ...request, runs: all });
  assert.equal([first.pages, first.zeroPages, first.skippedPages], [251, 0, 5]);
  assert.equal(first.missing, runs());
  assert.is(first.frames, sender.frames);
  const landed = await receiver.waitFor(sender.frames);
  assert.equal([landed.pages, landed.zeroPages, landed.bytes], [251, 0, 251 * 4096]);
  assert.is(landed.wireBytes, first.wireBytes);
  const expected = native.readMemory(source.pid, address, size);
  assert.ok(native.readMemory(target.pid, address, size).equals(expected));

  await source.command('zero', address + 12n * page, 20n * page);
  const second = await sender.send({ ...request, runs: all });
  assert.equal([second.pages, second.zeroPages, second.skippedPages], [234, 17, 5]);
  // Memory that is not anonymous: zeros always travel, its holes may show a file.
  const third = await sender.send({ ...request, runs: runs(address + 10n * page, address + 12n * page, 0n) });
  assert.equal([third.pages, third.zeroPages, third.skippedPages], [0, 2, 0]);
  const progress = await receiver.waitFor(sender.frames);
  assert.is(progress.zeroPages, 19);
  assert.ok(
    native.readMemory(target.pid, address, size).equals(native.readMemory(source.pid, address, size)),
  );
  sender.close();
  assert.is(await ended, null);
  receiver.close();
});

test('pages without read permission travel, pages that are gone are missing', async (context) => {
  const { source, target } = context;
  const address = await mapBoth(context);
  await source.fill(address, bytes);
  const expected = native.readMemory(source.pid, address, size);
  await source.command('protect', address + 3n * page, 90n * page, protection.none);
  await source.command('unmap', address + 100n * page, 2n * page);
  await source.command('unmap', address + 255n * page, page);
  const { receiver } = startReceiver(context);
  const sender = startSender(context);
  landIn(receiver, target, address);
  const result = await sender.send({
    pid: source.pid,
    memory: source.memory,
    runs: runs(address, address + 50n * page, 1n, address + 50n * page, address + bytes, 1n),
    sent: new native.SentPages(),
  });
  assert.is(result.pages, 253);
  assert.equal(
    result.missing,
    runs(address + 100n * page, address + 102n * page, address + 255n * page, address + bytes),
  );
  await receiver.waitFor(sender.frames);
  expected.fill(0, 100 * 4096, 102 * 4096);
  expected.fill(0, 255 * 4096);
  assert.ok(native.readMemory(target.pid, address, size).equals(expected));
  sender.close();
  receiver.close();
});

test('a frame on the wire is what shared/page-frames.ts says', async (context) => {
  const { source, client, server } = context;
  const address = await source.map(bytes);
  await source.fill(address, 3n * page);
  const wire: Buffer[] = [];
  const finished = new Promise((resolve) => server.once('end', resolve));
  server.on('data', (data) => wire.push(data));
  server.resume();
  const sender = startSender(context);
  const sent = new native.SentPages();
  const request = { pid: source.pid, memory: source.memory, sent };
  await sender.send({ ...request, runs: runs(address, address + page, 1n) });
  await source.command('zero', address, page);
  const two = runs(address, address + page, 1n, address + 2n * page, address + 3n * page, 1n);
  const { payloads } = await sender.gather({ ...request, runs: two });
  await sender.send({ ...request, runs: two });
  const { wireBytes } = await sender.sendCompressed(Buffer.from('any bytes'));
  sender.close();
  client.destroy();
  await finished;

  await source.fill(address, page); // the same seed: what it held at first
  const content = native.readMemory(source.pid, address, 3 * 4096);
  const first = bodyOf([{ address, pages: 1, kind: RunKind.data }], content.subarray(0, 4096));
  const second = bodyOf(
    [
      { address, pages: 1, kind: RunKind.zero },
      { address: address + 2n * page, pages: 1, kind: RunKind.data },
    ],
    content.subarray(8192),
  );
  assert.equal(payloads, [second]);
  const third = messageOf(
    frameOf(Buffer.from('any bytes'), { kind: FrameKind.compressed, runs: 0, sequence: 2n }),
  );
  assert.is(wireBytes, third.length);
  const expected = Buffer.concat([
    messageOf(frameOf(first, { sequence: 0n })),
    messageOf(frameOf(second, { runs: 2, sequence: 1n })),
    third,
    Buffer.from([0x88, 0x80, 0, 0, 0, 0]),
  ]);
  assert.ok(Buffer.concat(wire).equals(expected));
});

test('a compressed frame lands between its neighbours', async (context) => {
  const { source, target } = context;
  const address = await mapBoth(context);
  await source.fill(address, bytes, 1);
  const { receiver, nextCompressed } = startReceiver(context);
  const sender = startSender(context);
  landIn(receiver, target, address);
  const request = { pid: source.pid, memory: source.memory, sent: new native.SentPages() };
  const { payloads, result } = await sender.gather({
    ...request,
    runs: runs(address, address + 2n * page, 1n),
  });
  assert.equal([payloads.length, result.pages, result.wireBytes], [1, 2, 0]);
  await sender.sendCompressed(Buffer.from('stands for compressed bytes'));
  await source.fill(address, page, 2);
  await sender.send({ ...request, runs: runs(address, address + page, 1n) });
  assert.is((await nextCompressed()).toString(), 'stands for compressed bytes');
  assert.is(receiver.progress.frames, 0);
  await receiver.land(payloads[0]!);
  assert.ok(receiver.progress.frames >= 1);
  const progress = await receiver.waitFor(2);
  assert.is(progress.pages, 3);
  const expected = native.readMemory(source.pid, address, 8192);
  assert.ok(native.readMemory(target.pid, address, 8192).equals(expected));
  const error = await receiver.land(payloads[0]!).catch((it) => it);
  assert.ok(isKernelError(error, 'EINVAL'));
  sender.close();
  receiver.close();
});

test('a mask that is not zero is undone', async (context) => {
  const { target, client } = context;
  const address = await mapBoth(context);
  const { receiver } = startReceiver(context);
  landIn(receiver, target, address);
  const content = randomBytes(4096);
  const frame = frameOf(bodyOf([{ address, pages: 1, kind: 0 }], content), {});
  client.write(messageOf(frame, 0x82, Buffer.from([1, 2, 3, 4])));
  await receiver.waitFor(1);
  assert.ok(native.readMemory(target.pid, address, 4096).equals(content));
  receiver.close();
});

/** Each must end the channel with this error and land nothing. */
const content = Buffer.alloc(4096, 7);
const good = (address: bigint) => bodyOf([{ address, pages: 1, kind: 0 }], content);
const oneRun =
  (address: bigint, pages: number, kind: number = RunKind.data) =>
  (base: bigint) =>
    messageOf(frameOf(bodyOf([{ address: base + address, pages, kind }], content), {}));
const broken = (change: (frame: Buffer) => void) => (base: bigint) => {
  const frame = frameOf(good(base), {});
  change(frame);
  return messageOf(frame);
};
const hostile: Record<string, [code: string, bytes: (address: bigint) => Buffer]> = {
  'wrong version': ['EPROTO', (at) => messageOf(frameOf(good(at), { version: 2 }))],
  'unknown kind': ['EPROTO', (at) => messageOf(frameOf(good(at), { kind: 3 }))],
  'reserved field': ['EPROTO', (at) => messageOf(frameOf(good(at), { reserved: 1 }))],
  'second reserved field': ['EPROTO', (at) => messageOf(frameOf(good(at), { reserved2: 1 }))],
  'wrong sequence': ['EPROTO', (at) => messageOf(frameOf(good(at), { sequence: 1n }))],
  'no runs': ['EPROTO', (at) => messageOf(frameOf(good(at), { runs: 0 }))],
  'too many runs': ['EPROTO', (at) => messageOf(frameOf(good(at), { runs: 2049 }))],
  'more runs than body': ['EPROTO', (at) => messageOf(frameOf(good(at), { runs: 258 }))],
  'body length differs': ['EPROTO', (at) => messageOf(frameOf(good(at), { bodyBytes: 4096 }))],
  'body too large': [
    'EPROTO',
    (at) => messageOf(frameOf(Buffer.concat([good(at), Buffer.alloc(maxFrameBodyBytes)]), {})),
  ],
  'huge message': [
    'EPROTO',
    (at) => {
      const message = messageOf(Buffer.concat([frameOf(good(at), {}), Buffer.alloc(65536)]));
      message.writeBigUInt64BE(0xffff_ffff_ffff_ffffn, 2);
      return message;
    },
  ],
  'message too short': ['EPROTO', () => messageOf(Buffer.alloc(39))],
  'altered tag': ['EBADMSG', broken((frame) => (frame[frame.length - 1]! ^= 1))],
  'altered content': ['EBADMSG', broken((frame) => (frame[frame.length - frameTagBytes - 1]! ^= 1))],
  'run before the announced memory': ['EPROTO', oneRun(-page, 1)],
  'run across its end': ['EPROTO', oneRun(bytes - page, 2, RunKind.zero)],
  'run far away': ['EPROTO', oneRun(1n << 40n, 1)],
  'run that wraps around': ['EPROTO', (at) => oneRun((1n << 64n) - page - at, 2, RunKind.zero)(at)],
  'unaligned run': ['EPROTO', oneRun(8n, 1)],
  'empty run': ['EPROTO', oneRun(0n, 0)],
  'unknown kind of run': ['EPROTO', oneRun(0n, 1, 2)],
  'content shorter than its runs': ['EPROTO', oneRun(0n, 2)],
  'content longer than its runs': ['EPROTO', oneRun(0n, 1, RunKind.zero)],
  'good run, then a bad one': [
    'EPROTO',
    (address) => {
      const table = [
        { address, pages: 1, kind: RunKind.data },
        { address: 0n, pages: 1, kind: RunKind.zero },
      ];
      return messageOf(frameOf(bodyOf(table, content), { runs: 2 }));
    },
  ],
  'compressed frame with runs': ['EPROTO', (at) => messageOf(frameOf(good(at), { kind: 2 }))],
  'text message': ['EPROTO', (at) => messageOf(frameOf(good(at), {}), 0x81)],
  'fragment of a message': ['EPROTO', (at) => messageOf(frameOf(good(at), {}), 0x02)],
  ping: ['EPROTO', () => messageOf(Buffer.alloc(0), 0x89)],
  'no mask': ['EPROTO', () => Buffer.from([0x82, 126, 0x10, 0x00])],
  'cut off in a frame': ['ECONNRESET', (at) => messageOf(frameOf(good(at), {})).subarray(0, 3000)],
  'cut off between frames': ['ECONNRESET', () => Buffer.alloc(0)],
};
for (const [name, [code, bytesFor]] of Object.entries(hostile)) {
  test(`refused: ${name}`, async (context) => {
    const { target, client } = context;
    const address = await mapBoth(context);
    const { receiver, ended } = startReceiver(context);
    landIn(receiver, target, address);
    const waiting = receiver.waitFor(1).catch((error) => error);
    client.end(bytesFor(address));
    const error = (await ended) as KernelError;
    assert.ok(isKernelError(error, code), `${error}`);
    assert.is(((await waiting) as KernelError).message, error.message);
    assert.is(((await receiver.waitFor(1).catch((it) => it)) as KernelError).message, error.message);
    assert.equal(receiver.progress, { frames: 0, pages: 0, zeroPages: 0, bytes: 0, wireBytes: 0 });
    assert.ok(native.readMemory(target.pid, address, size).equals(Buffer.alloc(size)));
    receiver.close();
  });
}

test('a payload that is not a body is refused', async (context) => {
  const address = await mapBoth(context);
  const { receiver, ended, nextCompressed } = startReceiver(context);
  landIn(receiver, context.target, address);
  context.client.write(messageOf(frameOf(Buffer.alloc(9), { kind: 2, runs: 0 })));
  await nextCompressed();
  const landing = await receiver.land(good(address).subarray(0, 4000)).catch((error) => error);
  assert.ok(isKernelError(landing, 'EPROTO'));
  assert.ok(isKernelError(await ended, 'EPROTO'));
  receiver.close();
});

test('a sender whose peer is gone rejects this send and every later one', async (context) => {
  const { source, server } = context;
  const address = await source.map(bytes);
  await source.fill(address, bytes);
  const sender = startSender(context);
  server.destroy();
  const request = {
    pid: source.pid,
    memory: source.memory,
    runs: runs(address, address + bytes, 1n),
    sent: new native.SentPages(),
  };
  const outcomes = [];
  for (let i = 0; i < 4; i++) outcomes.push(await sender.send(request).catch((error) => error));
  // The first may still have fit into the socket's buffer.
  for (const error of outcomes.slice(2)) assert.ok(isKernelError(error, 'EPIPE', 'ECONNRESET'), `${error}`);
  sender.close();
});

test('a process that is gone is ESRCH and leaves the channel usable', async (context) => {
  const { source, target } = context;
  const address = await mapBoth(context);
  await source.fill(address, page);
  const { receiver } = startReceiver(context);
  const sender = startSender(context);
  landIn(receiver, target, address);
  const request = {
    memory: source.memory,
    runs: runs(address, address + page, 1n),
    sent: new native.SentPages(),
  };
  // the largest pid there can be is 2^22
  const error = await sender.send({ ...request, pid: 1 << 23 }).catch((it) => it);
  assert.ok(isKernelError(error, 'ESRCH'));
  await sender.send({ ...request, pid: source.pid });
  await receiver.waitFor(1);
  sender.close();
  receiver.close();
});

test('close interrupts a sender that waits for its bandwidth, and rejects what is queued', async (context) => {
  const { source } = context;
  const address = await source.map(bytes);
  await source.fill(address, bytes);
  const sender = startSender(context, 1);
  const request = { pid: source.pid, memory: source.memory, runs: runs(address, address + bytes, 1n) };
  const sends = [1, 2].map(() =>
    sender.send({ ...request, sent: new native.SentPages() }).catch((error: unknown) => error),
  );
  sender.close();
  for (const send of sends) assert.ok(isKernelError(await send, 'ECANCELED', 'EPIPE'));
  const late = await sender.send({ ...request, sent: new native.SentPages() }).catch((error) => error);
  assert.ok(isKernelError(late, 'ECANCELED'));
});

test('the bandwidth limit holds, and waiting is not counted as work', async (context) => {
  const { source, target } = context;
  const address = await mapBoth(context);
  await source.fill(address, bytes);
  const { receiver } = startReceiver(context);
  const rate = 2e6;
  const sender = startSender(context, rate);
  landIn(receiver, target, address);
  const start = performance.now();
  const result = await sender.send({
    pid: source.pid,
    memory: source.memory,
    runs: runs(address, address + bytes, 1n),
    sent: new native.SentPages(),
  });
  const elapsed = performance.now() - start;
  // All but the last frame have been paid for.
  const paid = result.wireBytes - result.wireBytes / result.frames;
  assert.ok(elapsed >= (paid / rate) * 1000 - 10, `${elapsed} ms`);
  assert.ok(result.busyMs < elapsed * 0.9, `${result.busyMs} of ${elapsed} ms`);
  sender.close();
  receiver.close();
});

test('an oversized compressed payload and a short key are refused at once', async (context) => {
  const sender = startSender(context);
  const large = await sender.sendCompressed(Buffer.alloc(maxFrameBodyBytes + 1)).catch((error) => error);
  assert.ok(isKernelError(large, 'EMSGSIZE'));
  sender.close();
  const options = { socket: descriptorOf(context.client), key: key.subarray(1), channel, bandwidth: 0 };
  assert.throws(
    () => new native.PageSender(options),
    (error: unknown) => isKernelError(error, 'EINVAL'),
  );
});

test.run();
