import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isErrorCode } from '../../shared/errors.js';
import { kindsInOrder } from '../../shared/kinds.js';

// dist/test/unit/ -> docs/
const text = readFileSync(new URL('../../../docs/limits.md', import.meta.url), 'utf8');
const sections = text
  .split(/^### /m)
  .slice(1)
  .map((section) => ({ kind: section.split('\n')[0]!, body: section.split(/^## /m)[0]! }));

test('every kind has a section, and nothing else has', () => {
  assert.equal(sections.map(({ kind }) => kind).sort(), kindsInOrder().sort());
});

test('each says what is carried', () => {
  for (const { kind, body } of sections) assert.match(body, /^Carried: \S/m, kind);
});

test('what is refused is refused with a code of the catalogue', () => {
  let codes = 0;
  for (const line of text.split('\n').filter((each) => each.startsWith('| '))) {
    const code = /\| `([a-z0-9-]+)` \|$/.exec(line)?.[1];
    if (code === undefined) continue;
    codes += 1;
    assert.ok(isErrorCode(code), code);
  }
  assert.ok(codes > 10);
});

test.run();
