import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { catalogue } from '../../shared/errors.js';

// dist/test/unit/ -> docs/
const text = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
/** Code, then what stands below its heading. */
const sections = text
  .split(/^### /m)
  .slice(1)
  .map((section) => {
    const [code, ...lines] = section.split('\n');
    return { code: code!, body: lines.join('\n').split(/^## /m)[0]!.trim() };
  });

test('every code is documented, in the order of the catalogue, and nothing else is', () => {
  assert.equal(
    sections.map(({ code }) => code),
    Object.keys(catalogue),
  );
});

test('each with its exit code, what it means, and what to do', () => {
  for (const { code, body } of sections) {
    const { exit } = catalogue[code as keyof typeof catalogue];
    assert.match(body, new RegExp(`^Exit code ${exit}\\. \\S`), code);
    const paragraphs = body.split('\n\n');
    assert.is(paragraphs.length, 2, `${code}: a paragraph of meaning, one of advice`);
  }
});

test.run();
