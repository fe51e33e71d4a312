import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { stampOf } from '../../shared/file-identity.js';
import type { NeededFile } from '../../shared/protocol/messages.js';
import type { State } from '../../shared/state/index.js';
import { changedSince } from '../../source-agent/changed-files.js';
import { verifyChanged } from '../../target-agent/changed-files.js';
import { fileMapping } from './support/mappings.js';
import { sampleState } from './support/state.js';

const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
let folder = '';
const at = (name: string) => join(folder, name);

test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-changed-'));
});
test.after(() => rmSync(folder, { recursive: true }));
test.before.each(() => {
  for (const name of ['program', 'open', 'library']) writeFileSync(at(name), name);
});

/** A program with one file open and one mapped. */
function state(): Pick<State, 'files' | 'memory'> {
  const { memory } = sampleState();
  const [position, flags] = [0n, 0];
  const { device, inode, size, modified, changed } = stampOf(at('open'))!;
  const stamp = { device, inode, size, modified, changed };
  return {
    memory: { ...memory, executable: at('program') },
    files: { descriptors: [], descriptions: [{ kind: 'file', path: at('open'), flags, position, stamp }] },
  };
}

const allOf = (files: NeededFile[], ...sameInode: string[]) => ({ files, sameInode: new Set(sameInode) });
const layout = () => [fileMapping(1, 1, at('library'))];

function known(...names: string[]): NeededFile[] {
  return names.map((name) => ({
    path: at(name),
    directory: false,
    mapped: false,
    stamp: stampOf(at(name))!,
  }));
}

test('nothing changed', async () => {
  assert.equal(await changedSince(allOf(known('program', 'open', 'library')), state(), layout()), []);
});

test('a file that both hosts see as one is not read again', async () => {
  const before = known('program', 'open', 'library');
  writeFileSync(at('open'), 'abc');
  assert.equal(await changedSince(allOf(before, at('open')), state(), layout()), []);
});

for (const name of ['program', 'open', 'library']) {
  test(`the ${name} file was written`, async () => {
    const before = known('program', 'open', 'library');
    writeFileSync(at(name), 'abc');
    assert.equal(await changedSince(allOf(before), state(), layout()), [
      { path: at(name), size: 3n, sha256: abc },
    ]);
  });

  test(`the ${name} file came during the rounds`, async () => {
    const before = known('program', 'open', 'library').filter(({ path }) => path !== at(name));
    const changed = await changedSince(allOf(before), state(), layout());
    assert.equal(
      changed.map(({ path }) => path),
      [at(name)],
    );
  });
}

test('what changed and cannot be compared stands in the way', async () => {
  const before = known('program', 'open', 'library');
  rmSync(at('library'));
  try {
    await changedSince(allOf(before), state(), layout());
  } catch (error) {
    return assert.is((error as MigrationError).code, 'unreadable-state');
  }
  assert.unreachable('it was passed over');
});

test('the target wants the same size and content', async () => {
  writeFileSync(at('open'), 'abc');
  await verifyChanged([{ path: at('open'), size: 3n, sha256: abc }], new Set());
  await verifyChanged([{ path: at('open'), size: 4n, sha256: abc }], new Set([at('open')]));
  for (const other of [
    { path: at('open'), size: 4n, sha256: abc },
    { path: at('open'), size: 3n, sha256: 'a'.repeat(64) },
    { path: at('nothing'), size: 3n, sha256: abc },
  ]) {
    const refused = await verifyChanged([other], new Set([at('another')])).then(
      () => null,
      (error: unknown) => error,
    );
    assert.instance(refused, MigrationError);
    assert.is((refused as MigrationError).code, 'file-differs');
  }
});

test.run();
