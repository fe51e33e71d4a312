import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { formatAddress, parseAddress } from '../../shared/protocol/address.js';

test('names, addresses, and no host at all', () => {
  assert.equal(parseAddress('host:7777'), { host: 'host', port: 7777 });
  assert.equal(parseAddress('my-host.example.org:1'), { host: 'my-host.example.org', port: 1 });
  assert.equal(parseAddress('10.0.0.1:65535'), { host: '10.0.0.1', port: 65535 });
  assert.equal(parseAddress('[::1]:7777'), { host: '::1', port: 7777 });
  assert.equal(parseAddress('[fe80::1%eth0]:7777'), { host: 'fe80::1%eth0', port: 7777 });
  assert.equal(parseAddress(':7777'), { host: '', port: 7777 });
  assert.equal(parseAddress(':0'), { host: '', port: 0 });
});

test('what is no address', () => {
  const bad = [
    '',
    ':',
    'host',
    'host:',
    'host:x',
    'host:-1',
    'host:65536',
    'host:99999',
    'host:000080',
    '::1:80',
    '[::1]',
    '[::1]80',
    '[host]:80',
    '[]:80',
    'a b:80',
    'host/x:80',
    'user@host:80',
    'host:80 ',
    'host:80\n',
    `${'a'.repeat(254)}:80`,
  ];
  for (const text of bad) {
    try {
      const address = parseAddress(text);
      assert.unreachable(`${JSON.stringify(text)} became ${JSON.stringify(address)}`);
    } catch (error) {
      assert.instance(error, MigrationError, text);
      assert.is((error as MigrationError).code, 'usage', text);
    }
  }
});

test('text and address are each other', () => {
  for (const text of ['host:7777', '[::1]:7777', ':7777', '10.0.0.1:1']) {
    assert.is(formatAddress(parseAddress(text)), text);
  }
});

test.run();
