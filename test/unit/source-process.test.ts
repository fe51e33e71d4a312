import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseMaps } from '../../shared/proc/mappings.js';
import { inOrder } from '../../source-agent/source-process.js';

const line = (start: string, end: string, offset: string, path: string) =>
  `${start}-${end} rw-p ${offset} fe:00 7 ${path}\n`;

test('a mapping that shows twice is told once', () => {
  const text = `${line('1000', '3000', '0', '/a')}${line('2000', '5000', '1000', '/a')}${line('5000', '6000', '0', '')}`;
  const mappings = inOrder(parseMaps(text)).map(({ start, end, offset }) => [start, end, offset]);
  assert.equal(mappings, [
    [0x1000n, 0x3000n, 0n],
    [0x3000n, 0x5000n, 0x2000n],
    [0x5000n, 0x6000n, 0n],
  ]);
});

test('a mapping inside what was told is left out', () => {
  const mappings = inOrder(parseMaps(`${line('1000', '9000', '0', '')}${line('2000', '3000', '0', '')}`));
  assert.is(mappings.length, 1);
});

test.run();
