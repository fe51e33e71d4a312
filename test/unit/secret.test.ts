import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { createSecret, readSecret } from '../../shared/secret.js';

const test = suite<{ folder: string }>('secret');
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'godwit-secret-'));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true }));

function write(folder: string, text: string, mode = 0o600): string {
  const file = join(folder, 'secret');
  writeFileSync(file, text, { mode });
  chmodSync(file, mode);
  return file;
}

function refuses(file: string, code: string, text: RegExp): void {
  try {
    readSecret(file);
  } catch (error) {
    assert.instance(error, MigrationError);
    assert.is((error as MigrationError).code, code);
    assert.match((error as MigrationError).message, text);
    return;
  }
  assert.unreachable(`${file} was read`);
}

test('what createSecret makes, readSecret reads, with and without a line end', ({ folder }) => {
  const text = createSecret();
  assert.match(text, /^godwit-secret-1:[A-Za-z0-9_-]{43}$/);
  const bare = readSecret(write(folder, text));
  const line = readSecret(write(folder, `${text}\n`, 0o400));
  assert.is(bare.key.length, 32);
  assert.is(bare.key.toString('base64url'), text.slice('godwit-secret-1:'.length));
  assert.equal(bare.key, line.key);
  assert.not.equal(createSecret(), text);
});

test('the identity says nothing about the key', ({ folder }) => {
  const one = readSecret(write(folder, createSecret()));
  const other = readSecret(write(folder, createSecret()));
  assert.is(one.identity, other.identity);
  assert.not.equal(one.key, other.key);
});

test('a missing file', ({ folder }) => {
  refuses(join(folder, 'none'), 'secret-missing', /there is no secret file/);
});

test('a file that group or others can open', ({ folder }) => {
  for (const mode of [0o640, 0o604, 0o620, 0o601, 0o644]) {
    refuses(write(folder, createSecret(), mode), 'secret-unusable', /open to others/);
  }
});

test('through a link, the mode of the file counts', ({ folder }) => {
  const link = join(folder, 'link');
  symlinkSync(write(folder, createSecret(), 0o644), link);
  refuses(link, 'secret-unusable', /open to others/);
  write(folder, createSecret());
  assert.is(readSecret(link).key.length, 32);
});

test('what is no file', ({ folder }) => {
  const inner = join(folder, 'folder');
  mkdirSync(inner, { mode: 0o700 });
  refuses(inner, 'secret-unusable', /not a regular file/);
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', ['-m', '600', fifo]);
  refuses(fifo, 'secret-unusable', /not a regular file/);
});

test('malformed content, which the error does not quote', ({ folder }) => {
  const good = createSecret();
  const bad = [
    '',
    '\n',
    good.slice(1),
    good.slice(0, -1),
    `${good}A`,
    `${good} `,
    ` ${good}`,
    `${good}\n\n`,
    `${good}\n${good}\n`,
    good.replace('-1:', '-2:'),
    `${good.slice(0, 30)}+${good.slice(31)}`,
    good + 'x'.repeat(1_000_000),
    'godwit-secret-1:',
    '\0'.repeat(59),
  ];
  for (const text of bad) {
    const file = write(folder, text);
    refuses(file, 'secret-unusable', /does not hold a secret$/);
  }
});

test('43 characters have two bits too many: only the canonical spelling counts', ({ folder }) => {
  const canonical = `godwit-secret-1:${Buffer.alloc(32).toString('base64url')}`;
  assert.is(readSecret(write(folder, canonical)).key.length, 32);
  refuses(write(folder, `${canonical.slice(0, -1)}B`), 'secret-unusable', /does not hold a secret/);
});

test.run();
