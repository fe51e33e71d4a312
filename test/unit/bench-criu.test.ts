/** The comparison with CRIU, as far as it is pure. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decisiveError } from '../../bench/criu/command.js';
import { type Comparison, comparisonTable, goalsOf, ratioOf, reasons } from '../../bench/criu/compare.js';
import { aptConfiguration, mirrorOf } from '../../bench/criu/debian.js';
import { formatLoad, parseLoad, writerOptions } from '../../bench/criu/load.js';

test("the mirror is the machine's own, and none of another distribution or of security updates", () => {
  const security = 'Debian http://deb.debian.org/debian-security/\n';
  const other = 'Ubuntu http://archive.ubuntu.com/ubuntu/\n';
  assert.is(
    mirrorOf(`${other}${security}Debian http://ftp.de.debian.org/debian/\n`),
    'http://ftp.de.debian.org/debian/',
  );
  assert.is(mirrorOf(`${other}${security}`), 'http://deb.debian.org/debian/');
  assert.is(mirrorOf(''), 'http://deb.debian.org/debian/');
});

test("apt works in the private folder, with the machine's proxies and nothing else of its settings", () => {
  const settings = [
    'Acquire::http::Proxy "http://10.0.0.1:3142";',
    'Acquire::https::Proxy "DIRECT";',
    'Acquire::Retries "3";',
    'Acquire::AllowInsecureRepositories "1";',
    'Acquire::Languages "de";',
    '',
  ].join('\n');
  const lines = aptConfiguration('/somewhere', settings).split('\n');
  assert.is(lines[0], 'Dir "/somewhere/";');
  assert.ok(lines.includes('Acquire::http::Proxy "http://10.0.0.1:3142";'));
  assert.ok(lines.includes('Acquire::https::Proxy "DIRECT";'));
  assert.ok(lines.includes('Acquire::Retries "3";'));
  assert.not.ok(lines.some((line) => line.includes('Insecure')));
  assert.equal(
    lines.filter((line) => line.startsWith('Acquire::Languages')),
    ['Acquire::Languages "none";'],
  );
});

test('the last error of a log before its verdict is the reason', () => {
  const log = [
    '(00.001000) Error (criu/sockets.c:1): survived',
    '(00.027978) Forking task with 9698 pid (flags 0x0)',
    '(00.028100)   9698: Warn (criu/a.c:1): something',
    "(00.028107) Error (criu/cr-restore.c:1230): Can't fork for 9698: File exists",
    '(00.028124) Error (criu/cr-restore.c:2320): Restoring FAILED.',
  ].join('\n');
  assert.is(decisiveError(log), "Can't fork for 9698: File exists");
  assert.is(
    decisiveError('Error (criu/config.c:1128): Tracking memory is not available.\n'),
    'Tracking memory is not available.',
  );
  assert.is(decisiveError('(00.1)     77: Error (a.c:2): in the child\n'), 'in the child');
  assert.is(decisiveError('(00.027978) all went well\n'), null);
});

test('loads', () => {
  assert.equal(parseLoad('512'), { megabytes: 512, rate: 0 });
  assert.equal(parseLoad('1024@100'), { megabytes: 1024, rate: 100 });
  for (const text of ['', '0', '-1', '1.5', '64@', '64@0', '64 MB', '@5']) {
    assert.throws(() => parseLoad(text), /takes MB or MB@RATE/, text);
  }
  assert.is(formatLoad(parseLoad('1024@100')), '1 GiB, 100 MB/s over 64 MiB');
  assert.is(formatLoad(parseLoad('32@2')), '32 MiB, 2 MB/s over 32 MiB');
  assert.is(formatLoad(parseLoad('64')), '64 MiB, idle');
  assert.equal(writerOptions(parseLoad('32@2')).slice(-6), ['--mb', '32', '--rate', '2', '--window', '32']);
  assert.ok(writerOptions(parseLoad('64')).includes('--wall'), 'a time namespace must not hide the gap');
});

const gaps = (medianMs: number) => ({ medianMs, p90Ms: medianMs * 2, samplesMs: [medianMs] });

const comparison: Comparison = {
  load: { megabytes: 1024, rate: 0 },
  godwit: gaps(10),
  criu: [
    { way: 'tmpfs', outcome: gaps(1500) },
    { way: 'page-server', outcome: gaps(2500) },
    { way: 'pre-dump', outcome: { unavailable: 'Tracking memory is not available' } },
  ],
};

test('ratios come first, and what CRIU cannot do is n/a with its reason', () => {
  assert.is(ratioOf(comparison, 'page-server'), 250);
  assert.is(ratioOf(comparison, 'pre-dump'), null);
  const lines = comparisonTable(comparison).split('\n');
  assert.match(lines[2]!, /^CRIU: dump and restore on tmpfs +150 x +1500 +3000$/);
  assert.match(lines[4]!, /^CRIU: 2 pre-dumps, page server +n\/a$/);
  assert.match(lines[5]!, /^godwit +10\.0 +20\.0$/);
  assert.equal(reasons(comparison), ['n/a, pre-dump: Tracking memory is not available']);
});

test('what cannot be measured is no goal', () => {
  const small = { ...comparison, load: { megabytes: 64, rate: 0 } };
  assert.equal(goalsOf([small]), []);
  const goals = goalsOf([comparison]);
  assert.is(goals.length, 1);
  assert.is(goals[0]!.reach, 200);
  assert.is(goals[0]!.measured, 250);
});

test.run();
