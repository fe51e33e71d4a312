import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { parseStatus } from '../../shared/proc/status.js';

// Recorded on Linux 6.18 from a program that had called itself "a) R (b <newline>\x".
const recorded = String.raw`Name:	a) R (b \n\\x
Umask:	0022
State:	R (running)
Tgid:	5744
Ngid:	0
Pid:	5744
PPid:	5740
TracerPid:	0
Uid:	0	0	0	0
Gid:	0	0	0	0
FDSize:	256
Groups:	${' '}
NStgid:	5744
NSpid:	5744
NSpgid:	5740
NSsid:	3221
Kthread:	0
VmPeak:	   18760 kB
VmSize:	   18528 kB
VmLck:	       8 kB
VmPin:	       0 kB
VmHWM:	   14928 kB
VmRSS:	   14928 kB
RssAnon:	    7820 kB
RssFile:	    7108 kB
RssShmem:	       0 kB
VmData:	    9476 kB
VmStk:	     132 kB
VmExe:	       4 kB
VmLib:	    4864 kB
VmPTE:	      76 kB
VmSwap:	       0 kB
HugetlbPages:	       0 kB
CoreDumping:	0
THP_enabled:	1
untag_mask:	0xffffffffffffffff
Threads:	1
SigQ:	5/96365
SigPnd:	0000000000000000
ShdPnd:	0000000000000800
SigBlk:	0000000000000800
SigIgn:	0000000001001000
SigCgt:	0000000000000202
CapInh:	0000000000000000
CapPrm:	000001fffeffffff
CapEff:	000001fffeffffff
CapBnd:	000001fffeffffff
CapAmb:	0000000000000000
NoNewPrivs:	0
Seccomp:	0
Seccomp_filters:	0
Speculation_Store_Bypass:	vulnerable
SpeculationIndirectBranch:	always enabled
Cpus_allowed:	3
Cpus_allowed_list:	0-1
Mems_allowed:	00000000,00000001
Mems_allowed_list:	0
voluntary_ctxt_switches:	38
nonvoluntary_ctxt_switches:	8
`;

/** The recorded text with one field's value replaced, or (null) without the field. */
function withField(name: string, value: string | null): string {
  const line = new RegExp(`^${name}:.*\n`, 'm');
  assert.match(recorded, line);
  return recorded.replace(line, () => (value === null ? '' : `${name}:\t${value}\n`));
}

function refused(text: string): void {
  assert.throws(
    () => parseStatus(text),
    (error: unknown) => error instanceof MigrationError && error.code === 'unknown-state',
  );
}

test('every field', () => {
  assert.equal(parseStatus(recorded), {
    name: 'a) R (b \n\\x',
    umask: 0o22,
    state: 'R',
    tgid: 5744,
    pid: 5744,
    ppid: 5740,
    tracerPid: 0,
    uids: [0, 0, 0, 0],
    gids: [0, 0, 0, 0],
    groups: [],
    nsTgid: [5744],
    nsPid: [5744],
    nsPgid: [5740],
    nsSid: [3221],
    kernelThread: false,
    threads: 1,
    pendingThread: 0n,
    pendingShared: 0x800n,
    blocked: 0x800n,
    ignored: 0x1001000n,
    caught: 0x202n,
    capabilities: {
      inheritable: 0n,
      permitted: 0x1fffeffffffn,
      effective: 0x1fffeffffffn,
      bounding: 0x1fffeffffffn,
      ambient: 0n,
    },
    noNewPrivs: false,
    seccomp: 0,
    seccompFilters: 0,
    voluntarySwitches: 38,
    involuntarySwitches: 8,
    threadFeatures: [],
    vmLockedBytes: 8192,
    vmSizeBytes: 18528 * 1024,
    vmRssBytes: 14928 * 1024,
    vmSwapBytes: 0,
    unknown: [],
  });
});

test('ids, groups and levels of namespaces', () => {
  const status = parseStatus(
    withField('Uid', '1000\t1001\t1002\t4294967295')
      .replace(/^Groups:.*$/m, 'Groups:\t4 24 1000 ')
      .replace(/^NSpid:.*$/m, 'NSpid:\t5744\t31\t1'),
  );
  assert.equal(status.uids, [1000, 1001, 1002, 4294967295]);
  assert.equal(status.groups, [4, 24, 1000]);
  assert.equal(status.nsPid, [5744, 31, 1]);
});

test('signal sets keep all 64 bits', () => {
  assert.is(parseStatus(withField('SigIgn', 'ffffffffffffffff')).ignored, 2n ** 64n - 1n);
  assert.is(parseStatus(withField('SigPnd', '8000000000000001')).pendingThread, 2n ** 63n + 1n);
});

test('features of shadow stacks', () => {
  const text = `${recorded}x86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\tshstk \n`;
  const status = parseStatus(text);
  assert.equal(status.threadFeatures, ['shstk', 'wrss']);
  assert.equal(status.unknown, []);
  assert.equal(parseStatus(`${recorded}x86_Thread_features:\t\n`).threadFeatures, []);
});

test('a kernel thread and a zombie have no memory, a zombie no umask', () => {
  const text = recorded
    .replace(/^(Vm|Rss|Hugetlb|CoreDumping|THP|untag).*\n/gm, '')
    .replace('Kthread:\t0', 'Kthread:\t1')
    .replace(/^Umask.*\n/m, '')
    .replace('R (running)', 'Z (zombie)');
  const status = parseStatus(text);
  assert.is(status.kernelThread, true);
  assert.is(status.state, 'Z');
  assert.is(status.umask, null);
  assert.is(status.vmSizeBytes, 0);
});

test('fields that older kernels lack', () => {
  assert.is(parseStatus(withField('Kthread', null)).kernelThread, null);
  assert.is(parseStatus(withField('Seccomp_filters', null)).seccompFilters, null);
  assert.is(parseStatus(withField('Seccomp', null)).seccomp, 0);
  assert.equal(parseStatus(withField('untag_mask', null)).unknown, []);
});

test('fields that nobody knows are named', () => {
  const text = `${recorded}Landlocked:\t1\nx86_Teapot:\tshort stout\n`;
  assert.equal(parseStatus(text).unknown, ['Landlocked', 'x86_Teapot']);
});

test('names with blanks, tabs and escapes', () => {
  assert.is(parseStatus(withField('Name', ' two \t')).name, ' two \t');
  assert.is(parseStatus(withField('Name', '')).name, '');
  assert.is(parseStatus(withField('Name', 'Pid:\t1')).name, 'Pid:\t1');
  assert.is(parseStatus(withField('Name', String.raw`\\n`)).name, '\\n');
});

test('a field that is missing, twice, or not a number is refused', () => {
  for (const name of ['Name', 'State', 'Pid', 'Uid', 'NSpid', 'SigBlk', 'CapEff', 'NoNewPrivs'])
    refused(withField(name, null));
  refused('');
  refused(`${recorded}Pid:\t1\n`);
  refused(`${recorded}no colon here\n`);
  refused(withField('Pid', 'twelve'));
  refused(withField('Pid', ''));
  refused(withField('Umask', '0089'));
  refused(withField('Uid', '0\t0\t0'));
  refused(withField('Uid', '0\t0\t0\t0\t0'));
  refused(withField('SigBlk', '00000000000000000'));
  refused(withField('SigBlk', '0xff'));
  refused(withField('VmLck', '8 MB'));
});

test('fields that tell what cannot be carried are named', () => {
  for (const [field, usual, special] of [
    ['VmPin', '       0 kB', '       4 kB'],
    ['untag_mask', '0xffffffffffffffff', '0x80007fffffffffff'],
    ['Speculation_Store_Bypass', 'thread vulnerable', 'thread force mitigated'],
    ['SpeculationIndirectBranch', 'always enabled', 'conditional disabled'],
  ] as const) {
    const with_ = (value: string) =>
      parseStatus(`${recorded.replace(new RegExp(`^${field}:.*\n`, 'm'), '')}${field}:\t${value}\n`).unknown;
    assert.equal(with_(usual), [], field);
    assert.equal(with_(special), [field]);
  }
});

test.run();
