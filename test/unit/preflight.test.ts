import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { digestOf, stampOf } from '../../shared/file-identity.js';
import type { HostFacts, NeededFile, ProgramVdso } from '../../shared/protocol/messages.js';
import { compareDigests, compareFiles, compareHosts, compareVdso } from '../../target-agent/preflight.js';
import { fromSource } from './support/messages.js';
import { vdsoImage } from './support/vdso-image.js';

const hosts = suite('hosts');
const { host } = fromSource().hello;
const codesOf = (change: Partial<HostFacts>, source: HostFacts = host) =>
  compareHosts(source, { ...host, ...change }).map(({ code, object }) => `${code} ${object}`);

hosts('alike', () => {
  assert.equal(codesOf({}), []);
  assert.equal(
    codesOf({ hostname: 'west', bootId: 'x', memoryBytes: 1, kernelRelease: '7.0', product: 'y' }),
    [],
  );
});

hosts('each difference that no program survives', () => {
  assert.equal(codesOf({ architecture: 'arm64' }), ['architecture-differs architecture']);
  assert.equal(codesOf({ pageBytes: 65536 }), ['architecture-differs page size']);
  assert.equal(codesOf({ cpuFeatures: ['sse2'] }), ['cpu-features-missing CPU features']);
});

hosts('more on the target is fine, and all that is missing is said at once', () => {
  assert.equal(codesOf({ cpuFeatures: ['amx', 'avx2', 'sse2'] }), []);
  const all = compareHosts(host, { ...host, architecture: 'arm64', pageBytes: 1, vdso: '', cpuFeatures: [] });
  assert.is(all.length, 3);
  assert.match(all[2]!.what, /avx2 sse2/);
});

hosts('what it says stays short', () => {
  const cpuFeatures = Array.from({ length: 1024 }, (_, i) => `feature-${i}`);
  const [blocker] = compareHosts({ ...host, cpuFeatures }, host);
  assert.ok(blocker!.what.length < 500);
});
hosts('another vdso is fine as long as each entry point has somewhere to lead', () => {
  const own = { image: vdsoImage({ __vdso_time: 64 }), digest: 'a'.repeat(64) };
  const judge = (change: Partial<ProgramVdso> | null) => {
    const vdso = change && { start: 0x7000n, image: own.image, kernel: own.digest, ...change };
    return compareVdso({ ...fromSource().offer, vdso }, own).map(({ code, what }) => `${code} ${what}`);
  };
  const kernel = 'b'.repeat(64);
  assert.equal(judge({}), []);
  assert.equal(judge({ kernel }), []);
  assert.equal(judge(null), ['kernel-differs the program has unmapped the vdso']);
  const image = vdsoImage({ __vdso_time: 64, __vdso_unheard_of: 128 });
  assert.equal(judge({ kernel, image }), ["kernel-differs the target's vdso has no __vdso_unheard_of"]);
  assert.match(judge({ kernel, image: Buffer.alloc(4096) })[0]!, /^kernel-differs .* no 64-bit ELF image/);
});
hosts.run();

const files = suite('files');
let folder = '';
const at = (name: string) => join(folder, name);
const needed = (name: string, change: Partial<NeededFile['stamp']> = {}, directory = false): NeededFile => {
  const { device, inode, size, modified, changed } = stampOf(at(name)) ?? fromSource().offer.files[0]!.stamp;
  return { path: at(name), directory, stamp: { device, inode, size, modified, changed, ...change } };
};
const verdict = (file: NeededFile, sameKernel = true, compareContents = false) => {
  const { blockers, unsure } = compareFiles([file], sameKernel, compareContents);
  return [...blockers.map(({ code }) => code as string), ...unsure.map(() => 'unsure')].join();
};

files.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'godwit-preflight-'));
  writeFileSync(at('file'), 'content');
  mkdirSync(at('folder'));
  execFileSync('mkfifo', [at('fifo')]);
  symlinkSync(at('nowhere'), at('dangling'));
});
files.after(() => rmSync(folder, { recursive: true }));

files('the same inode of one kernel is the same file, whatever was written to it', () => {
  assert.is(verdict(needed('file')), '');
  assert.is(verdict(needed('file', { size: 99n })), '');
});

files('elsewhere contents decide, and sizes before them', () => {
  assert.is(verdict(needed('file'), false), 'unsure');
  assert.is(verdict(needed('file'), true, true), 'unsure');
  assert.is(verdict(needed('file', { inode: 1n })), 'unsure');
  assert.is(verdict(needed('file', { inode: 1n, size: 99n })), 'file-differs');
  assert.is(verdict(needed('file', { size: 99n }), false), 'file-differs');
});

files('what is not there', () => {
  assert.is(verdict(needed('nothing')), 'file-missing');
  assert.is(verdict(needed('dangling')), 'file-missing');
});

files('directories are directories, and need no content', () => {
  assert.is(verdict(needed('folder', {}, true), false, true), '');
  assert.is(verdict(needed('folder')), 'file-differs');
  assert.is(verdict(needed('file', {}, true)), 'file-differs');
});

files('a fifo in the place of a file is no file: nobody may wait for its other end', () => {
  assert.is(verdict(needed('fifo')), 'file-differs');
  assert.is(verdict(needed('fifo'), false), 'file-differs');
});

files('digests: the same, another, unreadable there, missing here', async () => {
  const sha256 = (await digestOf(at('file')))!;
  const codes = async (path: string, digest: string | null) =>
    (await compareDigests([{ path, sha256: digest }])).map(({ code }) => code);
  assert.equal(await codes(at('file'), sha256), []);
  assert.equal(await codes(at('file'), 'a'.repeat(64)), ['file-differs']);
  assert.equal(await codes(at('file'), null), ['file-differs']);
  assert.equal(await codes(at('nothing'), sha256), ['file-differs']);
  assert.equal(await codes(at('nothing'), null), ['file-differs']);
});
files.run();
