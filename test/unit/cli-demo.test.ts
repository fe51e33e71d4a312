import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatListening, parseListening } from '../../cli/agent.js';
import { findGap, parseCounterLine } from '../../cli/demo/counting.js';
import { LineSplitter } from '../../cli/demo/lines.js';

const line = (count: number, pid = 4711) => `count ${count}  pid ${pid}  checksum 0123abcd`;

test('lines of the counter', () => {
  assert.equal(parseCounterLine(line(12)), { count: 12, pid: 4711 });
  for (const text of [
    '',
    'DAMAGED: object 3 is not what it was',
    `${line(1)} `,
    'count 1  pid 2  checksum 123',
  ]) {
    assert.is(parseCounterLine(text), null, text);
  }
});

test('a program that went on', () => {
  assert.is(findGap([line(1), line(2)], [line(3), line(4), line(5)]), null);
});

test('a program that did not', () => {
  const cases: [string[], string[], string][] = [
    [[], [line(1), line(2), line(3)], 'the program printed nothing before the move'],
    [[line(1)], [], 'the program printed 0 lines after the move'],
    [[line(1)], [line(2), line(3)], 'the program printed 2 lines after the move'],
    [[line(1)], [line(3), line(4), line(5)], 'count 1 was followed by 3'],
    [[line(1), line(2)], [line(2), line(3), line(4)], 'count 2 was followed by 2'],
    [[line(1)], [line(1), line(2), line(3)], 'count 1 was followed by 1'],
    [[line(1)], [line(2), line(3, 9), line(4)], 'pid 4711 became 9'],
    [[line(1)], [line(2), line(3), 'DAMAGED: object 3'], 'the program printed "DAMAGED: object 3"'],
  ];
  for (const [before, after, problem] of cases) assert.is(findGap(before, after), problem);
});

test('lines from pieces', () => {
  const lines: string[] = [];
  const splitter = new LineSplitter((text) => lines.push(text));
  for (const piece of ['a', 'b\n', '\nc\nd', 'e', '\nrest']) splitter.push(piece);
  assert.equal(lines, ['ab', '', 'c', 'de']);
});

test('the line of an agent that listens', () => {
  assert.is(parseListening(formatListening('127.0.0.1:7777')), '127.0.0.1:7777');
  assert.is(parseListening('agent ended with exit code 1'), null);
});

test.run();
