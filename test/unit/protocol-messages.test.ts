/**
 * test/golden/ holds the bytes of each message. They change only where a new protocol name (handshake.ts) says so:
 * print them with `node dist/test/unit/protocol-messages.test.js --print`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import { decode, encode, type WireValue } from '../../shared/protocol/codec.js';
import { FromSource, FromTarget } from '../../shared/protocol/messages.js';
import { fromSource, fromTarget } from './support/messages.js';

const golden = fileURLToPath(new URL('../../../test/golden/', import.meta.url));
const sides = [
  { side: 'source', schema: FromSource as v.GenericSchema, messages: Object.values(fromSource()) },
  { side: 'target', schema: FromTarget as v.GenericSchema, messages: Object.values(fromTarget()) },
];
const hexOf = (message: unknown) => encode(message as WireValue).toString('hex');
/** Arrives as a Buffer, was sent as an array of bytes. */
const plain = (value: unknown): unknown =>
  value instanceof Uint8Array
    ? [...value]
    : Array.isArray(value)
      ? value.map(plain)
      : value !== null && typeof value === 'object'
        ? Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, plain(entry)]))
        : value;

if (process.argv.includes('--print')) {
  for (const { side, messages } of sides)
    for (const message of messages) console.log(`${side}-${message.type}.hex ${hexOf(message)}`);
  process.exit(0);
}

for (const { side, schema, messages } of sides) {
  for (const message of messages) {
    test(`the bytes of "${message.type}" from the ${side}`, () => {
      const recorded = readFileSync(`${golden}${side}-${message.type}.hex`, 'utf8').replaceAll(/\s/g, '');
      assert.is(hexOf(message), recorded);
      const read = v.parse(schema, decode(Buffer.from(recorded, 'hex')));
      assert.equal(plain(read), plain(message));
    });
  }
}

test('every message has a sample, and every recording a message', () => {
  const kinds = [
    ...FromSource.options.map(({ entries }) => `source-${entries.type.literal}`),
    ...FromTarget.options.map(({ entries }) => `target-${entries.type.literal}`),
  ];
  const samples = sides.flatMap(({ side, messages }) => messages.map(({ type }) => `${side}-${type}`));
  assert.equal(samples.sort(), kinds.sort());
  assert.equal(
    readdirSync(golden)
      .map((file) => file.replace(/\.hex$/, ''))
      .sort(),
    samples,
  );
});

test.run();
