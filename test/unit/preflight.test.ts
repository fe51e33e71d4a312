import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { digestOf, stampOf } from '../../shared/file-identity.js';
import type { HostFacts, NeededFile, ProgramVdso } from '../../shared/protocol/messages.js';
import {
  compareFiles,
  compareHosts,
  compareIdentities,
  compareVdso,
  identify,
  isOlder,
  noteHosts,
  withinLimit,
} from '../../target-agent/preflight.js';
import { fromSource } from './support/messages.js';
import { vdsoImage } from './support/vdso-image.js';

const hosts = suite('hosts');
const { host } = fromSource().hello;
const codesOf = (change: Partial<HostFacts>, source: HostFacts = host) =>
  compareHosts(source, { ...host, ...change }).map(({ code, object }) => `${code} ${object}`);

hosts('alike', () => {
  assert.equal(codesOf({}), []);
  assert.equal(
    codesOf({ hostname: 'west', bootId: 'x', product: 'y', clocksource: 'hpet', hugePages: 'never' }),
    [],
  );
});

const states = (change: Partial<HostFacts['extendedStates'][0]>) =>
  host.extendedStates.map((state) => (state.component === 2 ? { ...state, ...change } : state));

/** What is changed on the target, and what is said. */
const table: [Partial<HostFacts>, string[]][] = [
  [{ architecture: 'arm64' }, ['architecture-differs architecture']],
  [{ pageBytes: 65536 }, ['architecture-differs page size']],
  [{ vdso: 'f'.repeat(64) }, []],
  [{ cpuFeatures: ['sse2'] }, ['cpu-features CPU features']],
  [{ cpuFeatures: ['amx', 'avx2', 'sse2'] }, []],
  [{ extendedStates: states({ offset: 600 }) }, ['extended-state state component 2']],
  [{ extendedStates: states({ bytes: 300 }) }, ['extended-state state component 2']],
  // A component that is missing is a feature that is missing; one more stands behind the others.
  [{ extendedStates: [] }, []],
  [
    { extendedStates: [...host.extendedStates, { component: 9, offset: 2432, bytes: 8, dynamic: false }] },
    [],
  ],
  [{ possibleCpus: 9 }, ['more-cpus possible CPUs']],
  [{ possibleCpus: 7 }, []],
  [{ kernelRelease: '6.17.99-x' }, ['kernel-older kernel release']],
  [{ kernelRelease: '5.19.0' }, ['kernel-older kernel release']],
  [{ kernelRelease: '6.18.7' }, []],
  [{ kernelRelease: '6.19.0' }, []],
  [{ kernelRelease: '7.0.0' }, []],
  [{ rseqFeatureBytes: 20 }, ['kernel-older kernel release']],
  [{ rseqFeatureBytes: 33 }, []],
  [{ tscKilohertz: 2_700_000 }, ['tsc-frequency time-stamp counter']],
  [{ tscKilohertz: 2_600_900 }, []],
  [{ tscKilohertz: null }, []],
];
for (const [change, expected] of table) {
  hosts(`the target with ${JSON.stringify(change)}`, () => {
    assert.equal(codesOf(change), expected);
  });
}

hosts('all that differs is said at once, by name', () => {
  const all = compareHosts(host, { ...host, architecture: 'arm64', pageBytes: 1, vdso: '', cpuFeatures: [] });
  assert.is(all.length, 3);
  assert.match(all[2]!.what, /avx2 sse2/);
  const [older] = compareHosts(host, { ...host, kernelRelease: '6.1.0', rseqFeatureBytes: 20 });
  assert.match(older!.what, /Linux 6.1.0, the source 6.18.0; it fills 20 bytes of struct rseq/);
});

hosts('releases in the order of their features', () => {
  assert.ok(isOlder('6.1.170-1-amd64', '6.12.4'));
  assert.not.ok(isOlder('6.12.4', '6.1.170'));
  assert.not.ok(isOlder('6.12.1', '6.12.90'));
  assert.not.ok(isOlder('10.0', '9.30'));
  assert.ok(isOlder('odd', '6.1'), 'what cannot be read is not taken for new enough');
  assert.not.ok(isOlder('odd', 'odd'));
});

hosts('what no program breaks on is a note', () => {
  const notes = (change: Partial<HostFacts>) => noteHosts(host, { ...host, ...change });
  assert.equal(notes({}), []);
  assert.match(notes({ bootId: 'x' })[0]!, /rdtsc/);
  assert.match(notes({ clocksource: 'hpet' })[0]!, /hpet/);
  assert.match(notes({ hugePages: 'never' })[0]!, /never/);
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
const needed = (
  name: string,
  change: Partial<NeededFile['stamp']> = {},
  directory = false,
  mapped = false,
): NeededFile => {
  const { device, inode, size, modified, changed } = stampOf(at(name)) ?? fromSource().offer.files[0]!.stamp;
  return { path: at(name), directory, mapped, stamp: { device, inode, size, modified, changed, ...change } };
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
  assert.is(verdict(needed('folder')), 'file-missing');
  assert.is(verdict(needed('file', {}, true)), 'file-missing');
});

files('a fifo in the place of a file is no file: nobody may wait for its other end', () => {
  assert.is(verdict(needed('fifo')), 'file-missing');
  assert.is(verdict(needed('fifo'), false), 'file-missing');
});

files('what is mapped is part of the program: that difference has a code of its own', () => {
  assert.is(verdict(needed('file', { size: 99n }, false, true), false), 'mapped-file-differs');
});

files('contents: the same, another, unreadable there, missing here', async () => {
  const sha256 = `sha256:${await digestOf(at('file'))}`;
  const codes = async (name: string, there: string | null | undefined, mapped = false) => {
    const asked = [{ path: at(name), size: 7n, mapped }];
    const told = new Map(there === undefined ? [] : [[at(name), there]]);
    return compareIdentities(asked, await identify(asked, false), told).map(({ code }) => code);
  };
  assert.equal(await codes('file', sha256), []);
  assert.equal(await codes('file', `sha256:${'a'.repeat(64)}`), ['file-differs']);
  assert.equal(await codes('file', `sha256:${'a'.repeat(64)}`, true), ['mapped-file-differs']);
  assert.equal(await codes('file', null), ['file-differs']);
  assert.equal(await codes('file', undefined), ['file-differs'], 'the source leaves it out');
  assert.equal(await codes('nothing', sha256), ['file-differs']);
  assert.equal(await codes('nothing', null), ['file-differs'], 'neither can be read');
});

files('only so much is compared unless it was asked for, the small ones first', () => {
  const file = (path: string, size: bigint, mapped = false) => ({ path, size, mapped });
  const files = [file('/large', 90n), file('/a', 40n), file('/b', 50n)];
  const some = withinLimit(files, false, 100n);
  assert.equal(
    some.compared.map(({ path }) => path),
    ['/a', '/b'],
  );
  assert.is(some.bytes, 90n);
  assert.equal(
    some.blockers.map(({ code, object }) => [code, object]),
    [['file-uncompared', '/large']],
  );
  const all = withinLimit(files, true, 100n);
  assert.equal([all.compared.length, all.blockers.length, all.bytes], [3, 0, 180n]);
  // A large library is known by its build id, which costs nothing.
  const library = withinLimit([file('/library', 900n << 20n, true)], false, 100n);
  assert.equal([library.compared.length, library.bytes], [1, 0n]);
});
files.run();
