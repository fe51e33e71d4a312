import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { leaveCriticalSection } from '../../shared/injection/rseq.js';
import { get } from '../../shared/injection/x86-64/registers.js';
import { registers } from './support/registers.js';

const area = 0x10000n;
const section = 0x20000n;
const [start, length, abort] = [0x400100n, 0x20n, 0x400800n];

/** Memory with an rseq area that points to `pointer`, and the description of one section. */
function memory(pointer: bigint) {
  const asked: bigint[] = [];
  const read = (address: bigint, bytes: number): Buffer => {
    asked.push(address);
    const answer = Buffer.alloc(bytes);
    if (address === area + 8n) answer.writeBigUInt64LE(pointer);
    else if (address === section) {
      for (const [i, word] of [start, length, abort].entries()) answer.writeBigUInt64LE(word, 8 + i * 8);
    } else throw new Error(`nothing is at ${address.toString(16)}`);
    return answer;
  };
  return { read, asked };
}

const rip = (at: bigint, pointer = section) =>
  get(leaveCriticalSection(registers({ rip: at }), { address: area }, memory(pointer).read), 'rip');

test('a thread inside its critical section takes the abort path', () => {
  assert.is(rip(start), abort);
  assert.is(rip(start + 7n), abort);
  assert.is(rip(start + length - 1n), abort);
});

test('a thread outside of it stays where it is', () => {
  for (const at of [start - 1n, start + length, abort, 0n]) assert.is(rip(at), at);
});

test('without a section, or without rseq, nothing is read and nothing changes', () => {
  const here = registers({ rip: start });
  const none = memory(0n);
  assert.is(leaveCriticalSection(here, { address: area }, none.read), here);
  assert.equal(none.asked, [area + 8n]);
  const unused = memory(section);
  assert.is(leaveCriticalSection(here, null, unused.read), here);
  assert.equal(unused.asked, []);
});

test.run();
