/** Thousands of wrong messages, made from right ones: each is refused or is a message, and nothing else happens. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import { encode, type WireValue } from '../../shared/protocol/codec.js';
import { MessageChannel } from '../../shared/protocol/message-channel.js';
import { FromSource } from '../../shared/protocol/messages.js';
import { fromSource } from './support/messages.js';
import { generator } from './support/protocol.js';

type Random = (below: number) => number;

/** A channel that is fed by hand. */
class Fed extends MessageChannel<FromSource, WireValue> {
  readonly received: FromSource[] = [];
  constructor() {
    super({ schema: FromSource, peer: 'somebody' });
    this.onMessage((message) => this.received.push(message));
  }
  feed(bytes: Buffer): void {
    this.accept(bytes);
  }
  protected override transmit(): void {}
  protected override async shut(): Promise<void> {}
}

/** What becomes of one message. Throws what must not be thrown. */
function verdict(bytes: Buffer): 'read' | 'refused' {
  const channel = new Fed();
  let end: string | undefined;
  channel.onEnd(({ code, message }) => {
    end = code;
    assert.ok(message.length < 400, `a refusal of ${message.length} characters`);
    assert.match(message, /^[\x20-\x7e]*$/, 'what a stranger wrote is printed as it is');
  });
  channel.feed(bytes);
  if (end === undefined) {
    assert.is(channel.received.length, 1);
    // What was read is of the schema, whatever it was before.
    assert.ok(v.is(FromSource, channel.received[0]));
    return 'read';
  }
  assert.is(end, 'protocol-violation');
  assert.is(channel.received.length, 0);
  return 'refused';
}

const samples = Object.values(fromSource());
const strange: readonly WireValue[] = [
  null,
  undefined,
  true,
  0,
  -1,
  1.5,
  2 ** 53,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  0n,
  -1n,
  1n << 47n,
  (1n << 64n) - 1n,
  '',
  '\0',
  '../../../etc/passwd',
  '__proto__',
  'x'.repeat(5000),
  '\u{1f4a5}\x1b[2J',
  [],
  {},
  [[[[[[[[]]]]]]]],
  { type: 'commit' },
  new Uint8Array(0),
  new Uint8Array(70000),
  new BigUint64Array(4),
  Array.from({ length: 2000 }, (_, i) => i),
];

/** The same value with one random place changed. */
function mutated(value: WireValue, random: Random): WireValue {
  const children =
    Array.isArray(value) || (value !== null && typeof value === 'object' && value.constructor === Object)
      ? Object.keys(value)
      : [];
  if (children.length === 0 || random(12) === 0) return strange[random(strange.length)]!;
  const key = children[random(children.length)]!;
  if (Array.isArray(value)) {
    const copy = [...value] as WireValue[];
    const at = Number(key);
    const choice = random(8);
    if (choice === 0) copy.splice(at, 1);
    else if (choice === 1) copy.push(copy[at]!);
    else if (choice === 2) copy.reverse();
    else copy[at] = mutated(copy[at], random);
    return copy;
  }
  const copy: Record<string, WireValue> = { ...(value as Record<string, WireValue>) };
  const choice = random(8);
  if (choice === 0) delete copy[key];
  else if (choice === 1) copy[`${key}x`] = copy[key];
  else copy[key] = mutated(copy[key], random);
  return copy;
}

function damaged(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  const at = random(copy.length);
  switch (random(4)) {
    case 0:
      return copy.subarray(0, at);
    case 1:
      return Buffer.concat([copy.subarray(0, at), Buffer.from([random(256)]), copy.subarray(at)]);
    default:
      for (let i = 1 + random(4); i > 0; i -= 1) copy[random(copy.length)] = random(256);
      return copy;
  }
}

test('the samples themselves are read', () => {
  for (const message of samples)
    assert.is(verdict(encode(message as unknown as WireValue)), 'read', message.type);
});

test('values of other kinds, in every place', () => {
  const counts = { read: 0, refused: 0 };
  for (let seed = 1; seed <= 4000; seed += 1) {
    const random = generator(seed);
    let message = samples[random(samples.length)] as unknown as WireValue;
    for (let times = 1 + random(3); times > 0; times -= 1) message = mutated(message, random);
    counts[verdict(encode(message))] += 1;
  }
  // Some changes make another valid message; most do not.
  assert.ok(counts.refused > 2000 && counts.read > 10, JSON.stringify(counts));
});

test('damaged bytes', () => {
  const counts = { read: 0, refused: 0 };
  for (let seed = 1; seed <= 6000; seed += 1) {
    const random = generator(seed);
    const sample = encode(samples[random(samples.length)] as unknown as WireValue);
    counts[verdict(damaged(sample, random))] += 1;
  }
  assert.ok(counts.refused > 2000 && counts.read > 10, JSON.stringify(counts));
});

test('keys that mean something to JavaScript', () => {
  for (const key of ['__proto__', 'constructor', 'prototype', 'toString']) {
    const text = Buffer.concat([Buffer.from([0xa0 | key.length]), Buffer.from(key)]);
    // {"type": "commit", KEY: {"polluted": true}}
    const commit = encode({ type: 'commit' }).subarray(1);
    const bytes = Buffer.concat([
      Buffer.from([0x82]),
      commit.subarray(commit.indexOf(0xa4)),
      text,
      encode({ polluted: true }),
    ]);
    assert.is(verdict(bytes), 'refused', key);
    assert.is(({} as { polluted?: boolean }).polluted, undefined);
  }
});

test.run();
