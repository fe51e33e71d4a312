import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { isDeleted, isSpecial, parseMaps, parseSmaps } from '../../shared/proc/mappings.js';

// Recorded on Linux 6.18 from a program with files of odd names.
const recorded = String.raw`
55deb549c000-55deb549d000 rw-p 00003000 fe:00 26723                      /root/.pyenv/versions/3.11.7/bin/python3.11
55ded824d000-55ded8444000 rw-p 00000000 00:00 0                          [heap]
7fe4ab3fb000-7fe4ab3fd000 rw-p 00000000 00:00 0${' '}
7fe4ab3fd000-7fe4ab3ff000 rw-s 00000000 00:01 1025                       /dev/zero (deleted)
7fe4ab69a000-7fe4ab69c000 rw-p 00000000 fe:00 2146512                    /tmp/pp x/tab	char
7fe4ab69c000-7fe4ab69e000 rw-p 00000000 fe:00 2146511                    /tmp/pp x/real (deleted)
7fe4ab733000-7fe4ab734000 rw-s 00000000 00:01 1026                       /memfd:my memfd (deleted)
7fe4ab734000-7fe4ab736000 rw-p 00000000 fe:00 2146510                    /tmp/pp x/back\slash
7fe4ac3ab000-7fe4ac3ad000 rw-s 00000000 fe:00 2146508                    /tmp/pp x/two\012lines
7fe4ac3b6000-7fe4ac3ba000 r--p 00000000 00:00 0                          [vvar]
7fe4ac3ba000-7fe4ac3bc000 r--p 00000000 00:00 0                          [vvar_vclock]
7fe4ac3bc000-7fe4ac3be000 r-xp 00000000 00:00 0                          [vdso]
7ffd63c4a000-7ffd63c6b000 rw-p 00000000 00:00 0                          [stack]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
`.slice(1);

const smapsFields = `Size:                  8 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
Rss:                   8 kB
Pss:                   8 kB
Pss_Dirty:             8 kB
Shared_Clean:          0 kB
Shared_Dirty:          0 kB
Private_Clean:         0 kB
Private_Dirty:         8 kB
Referenced:            8 kB
Anonymous:             8 kB
KSM:                   0 kB
LazyFree:              0 kB
AnonHugePages:         0 kB
ShmemPmdMapped:        0 kB
FilePmdMapped:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:       0 kB
Swap:                  0 kB
SwapPss:               0 kB
Locked:                8 kB
THPeligible:           0
`;
const recordedSmaps = `7fe4ab3fb000-7fe4ab3fd000 rw-p 00000000 00:00 0 
${smapsFields}VmFlags: rd wr mr mw me lo ac 
7fe4ac3ab000-7fe4ac3ad000 rw-s 00000000 fe:00 2146508                    /tmp/pp x/two\\012lines
${smapsFields.replaceAll('8 kB', '0 kB')}VmFlags: rd wr sh mr mw me ms 
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
${smapsFields.replaceAll('8 kB', '0 kB')}VmFlags: ex 
`;

function refused(text: string, parse: (text: string) => unknown = parseMaps): void {
  assert.throws(
    () => parse(text),
    (error: unknown) => error instanceof MigrationError && error.code === 'unknown-state',
    `must refuse ${JSON.stringify(text)}`,
  );
}

test('every field of a line', () => {
  assert.equal(parseMaps(recorded)[0], {
    start: 0x55deb549c000n,
    end: 0x55deb549d000n,
    read: true,
    write: true,
    execute: false,
    shared: false,
    offset: 0x3000n,
    device: 'fe:00',
    inode: 26723n,
    path: '/root/.pyenv/versions/3.11.7/bin/python3.11',
  });
});

test('paths with blanks, tabs, backslashes, newlines and none', () => {
  assert.equal(
    parseMaps(recorded).map((mapping) => mapping.path),
    [
      '/root/.pyenv/versions/3.11.7/bin/python3.11',
      '[heap]',
      '',
      '/dev/zero (deleted)',
      '/tmp/pp x/tab\tchar',
      '/tmp/pp x/real (deleted)',
      '/memfd:my memfd (deleted)',
      '/tmp/pp x/back\\slash',
      '/tmp/pp x/two\nlines',
      '[vvar]',
      '[vvar_vclock]',
      '[vdso]',
      '[stack]',
      '[vsyscall]',
    ],
  );
});

test('a backslash with digits that are no newline stays', () => {
  const [mapping] = parseMaps('1000-2000 r--p 00000000 fe:00 7 /a\\040b\\134\n');
  assert.is(mapping!.path, '/a\\040b\\134');
});

test('a path keeps the blanks at its end', () => {
  assert.is(parseMaps('1000-2000 r--p 00000000 fe:00 7                  /a b  \n')[0]!.path, '/a b  ');
});

test('permissions and sharing', () => {
  const seen = parseMaps('1000-2000 ---s 0 0:0 0\n2000-3000 rwxp 0 0:0 0\n3000-4000 --xp 0 0:0 0\n');
  assert.equal(
    seen.map(({ read, write, execute, shared }) => [read, write, execute, shared]),
    [
      [false, false, false, true],
      [true, true, true, false],
      [false, false, true, false],
    ],
  );
});

test('numbers keep all 64 bits', () => {
  const [mapping] = parseMaps(
    'ffffffffff600000-ffffffffff601000 rw-p fffffffffffff000 1ff:fffff 18446744073709551615 /f\n',
  );
  assert.is(mapping!.start, 0xffffffffff600000n);
  assert.is(mapping!.end, 0xffffffffff601000n);
  assert.is(mapping!.offset, 0xfffffffffffff000n);
  assert.is(mapping!.inode, 18446744073709551615n);
  assert.is(mapping!.device, '1ff:fffff');
  // The double's limit on both sides of the change of method.
  const [narrow, wide] = parseMaps(
    'fffffffffffff-10000000000001 rw-p 0 0:0 999999999999999\n20000000000001-20000000000003 rw-p 0 0:0 9007199254740993\n',
  );
  assert.equal(
    [narrow!.start, narrow!.end, narrow!.inode],
    [2n ** 52n - 1n, 2n ** 52n + 1n, 999999999999999n],
  );
  assert.equal([wide!.start, wide!.end, wide!.inode], [2n ** 53n + 1n, 2n ** 53n + 3n, 2n ** 53n + 1n]);
});

test('the mappings of the kernel', () => {
  const names = parseMaps(recorded)
    .filter(isSpecial)
    .map((mapping) => mapping.path);
  assert.equal(names, ['[vvar]', '[vvar_vclock]', '[vdso]', '[vsyscall]']);
  assert.ok(isSpecial({ path: '[uprobes]' }));
  assert.not(isSpecial({ path: '[anon:vdso]' }));
  assert.not(isSpecial({ path: '/lib/[vdso]' }));
});

test('names that are gone', () => {
  assert.ok(isDeleted({ path: '/tmp/x (deleted)' }));
  assert.not(isDeleted({ path: '/tmp/(deleted)' }));
  assert.not(isDeleted({ path: '' }));
});

test('no text is no mapping; the last line need not end', () => {
  assert.equal(parseMaps(''), []);
  assert.equal(parseSmaps(''), []);
  assert.is(parseMaps('1000-2000 r--p 0 0:0 0').length, 1);
});

test('smaps adds flags', () => {
  const [anonymous, file, vsyscall] = parseSmaps(recordedSmaps);
  assert.equal([...anonymous!.flags!], ['rd', 'wr', 'mr', 'mw', 'me', 'lo', 'ac']);
  assert.is(file!.path, '/tmp/pp x/two\nlines');
  assert.ok(file!.flags!.has('sh'));
  assert.equal([...vsyscall!.flags!], ['ex']);
});

test('smaps holds what maps holds', () => {
  const lines = recordedSmaps.split('\n').filter((line) => /^[0-9a-f]+-/.test(line));
  const plain = parseSmaps(recordedSmaps).map(
    ({ flags, anonymousBytes, residentBytes, swappedBytes, lockedBytes, ...rest }) => rest,
  );
  assert.equal(plain, parseMaps(`${lines.join('\n')}\n`));
});

test('a protection key is told where there is one', () => {
  const text = (key: number) =>
    `1000-2000 r--p 0 0:0 0\nSize: 4 kB\nTHPeligible: 0\nProtectionKey: ${key}\nVmFlags: rd\n`;
  assert.is(parseSmaps(text(3))[0]!.protectionKey, 3);
  assert.not('protectionKey' in parseSmaps(text(0))[0]!);
});

test('text that is no list of mappings is refused', () => {
  refused('\n');
  refused('1000-2000\n');
  refused('1000-2000 r--p 0 0:0\n1000-2000 r--p 0 0:0 0\n');
  refused('1000-2000 r--q 0 0:0 0\n');
  refused('1000-2000 z--p 0 0:0 0\n');
  refused('10g0-2000 r--p 0 0:0 0\n');
  refused('-2000 r--p 0 0:0 0\n');
  refused('1000-2000 r--p 0 0:0 x\n');
  refused('Size: 4 kB\n', parseSmaps);
  refused('1000-2000 r--p 0 0:0 0\nSize: 4 kB\n', parseSmaps);
  refused('1000-2000 r--p 0 0:0 0\nProtectionKey: x\nVmFlags: rd\n', parseSmaps);
});

test('as many mappings as the kernel allows', () => {
  const lines = Array.from({ length: 65_530 }, (_, i) => {
    const start = 0x7f0000000000 + i * 8192;
    return `${start.toString(16)}-${(start + 4096).toString(16)} rw-p ${(i * 4096).toString(16).padStart(8, '0')} fe:00 ${i}                    /tmp/file ${i}\n`;
  });
  const mappings = parseMaps(lines.join(''));
  assert.is(mappings.length, 65_530);
  assert.is(mappings[65_529]!.start, 0x7f0000000000n + 65_529n * 8192n);
  assert.is(mappings[65_529]!.offset, 65_529n * 4096n);
  assert.is(mappings[65_529]!.inode, 65_529n);
  assert.is(mappings[65_529]!.path, '/tmp/file 65529');
});

test.run();
