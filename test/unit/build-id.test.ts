import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildIdIn, buildIdOf } from '../../shared/build-id.js';

const folder = mkdtempSync(join(tmpdir(), 'godwit-build-id-'));
test.after(() => rmSync(folder, { recursive: true }));

async function idOf(file: string): Promise<string | null> {
  await using opened = await open(file);
  return await buildIdOf(opened);
}

/** A note with these words in front of name and content. */
function note(name: string, type: number, content: number[]): Buffer {
  const words = Buffer.alloc(12);
  for (const [i, word] of [name.length, content.length, type].entries()) words.writeUInt32LE(word, i * 4);
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  return Buffer.concat([words, padded(Buffer.from(name)), padded(Buffer.from(content))]);
}

test('notes: the one of GNU, of this type, wherever it stands', () => {
  const id = note('GNU\0', 3, [1, 2, 0xab]);
  assert.is(buildIdIn(id), '0102ab');
  assert.is(buildIdIn(Buffer.concat([note('GNU\0', 5, [9]), note('stapsdt\0', 3, [8]), id])), '0102ab');
  assert.is(buildIdIn(note('GNU\0', 1, [1])), null);
  assert.is(buildIdIn(note('GNU\0', 3, [])), null);
  assert.is(buildIdIn(note('GNU\0', 3, Array(65).fill(1))), null, 'longer than any hash');
  assert.is(buildIdIn(id.subarray(0, id.length - 4)), null, 'cut off');
  assert.is(buildIdIn(Buffer.alloc(11)), null);
});

test('notes that lie about their length', () => {
  for (const at of [0, 4]) {
    const lying = note('GNU\0', 3, [1, 2, 3, 4]);
    lying.writeUInt32LE(0xffffffff, at);
    assert.is(buildIdIn(lying), null);
  }
});

test('what the linker wrote', async () => {
  const [source, program] = [join(folder, 'p.c'), join(folder, 'p')];
  writeFileSync(source, 'int main(void) { return 0; }');
  const build = (id: string) => execFileSync('cc', [`-Wl,--build-id=${id}`, '-o', program, source]);
  build('0xfeedc0de00');
  assert.is(await idOf(program), 'feedc0de00');
  build('none');
  assert.is(await idOf(program), null);
});

test('what is no ELF file of ours, and every file that is cut off or altered', async () => {
  const file = join(folder, 'altered');
  const good = readFileSync(process.execPath).subarray(0, 8192);
  const tryIt = async (bytes: Buffer) => {
    writeFileSync(file, bytes);
    return idOf(file);
  };
  assert.is(await tryIt(Buffer.alloc(0)), null);
  assert.is(await tryIt(Buffer.from('#!/bin/sh')), null);
  assert.is(typeof (await tryIt(good)), 'string', 'the whole head has one');
  for (let bytes = 0; bytes < 128; bytes += 7) assert.is(await tryIt(good.subarray(0, bytes)), null);
  for (let at = 0; at < 64; at += 1) {
    const altered = Buffer.from(good);
    altered[at]! ^= 0xff;
    await tryIt(altered); // answers, whatever it answers
  }
});

test.run();
