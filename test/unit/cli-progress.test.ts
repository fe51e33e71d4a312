import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatRound, Progress } from '../../cli/progress.js';
import { coloured, plain, stylesFor } from '../../cli/styles.js';
import type { RoundEvent } from '../../source-agent/report.js';

const first: RoundEvent = {
  event: 'round',
  round: 0,
  closing: false,
  pages: 51200,
  zeroPages: 100,
  wireBytes: 209_900_000,
  durationMs: 200,
  rateBytesPerSecond: 1_048_576_000,
  dirtyBytesPerSecond: null,
  predictedDowntimeMs: 45,
};
const closing: RoundEvent = {
  ...first,
  round: 12,
  closing: true,
  pages: 7,
  wireBytes: 28_900,
  dirtyBytesPerSecond: 26_214_400,
  predictedDowntimeMs: 4.25,
};

test('rounds stand in columns', () => {
  assert.is(
    formatRound(first),
    'round  0      51200 pages      210 MB  at  1.05 GB/s  dirtied          -  downtime now  45.0 ms',
  );
  assert.is(
    formatRound(closing),
    'round 12          7 pages     28.9 kB  at  1.05 GB/s  dirtied  26.2 MB/s  downtime now  4.25 ms  closing',
  );
});

function written(isTTY: boolean, act: (progress: Progress) => void): string {
  let text = '';
  act(
    new Progress({
      isTTY,
      write: (piece) => {
        text += piece;
      },
    }),
  );
  return text;
}

test('on a terminal a step is shown until something else is', () => {
  const text = written(true, (progress) => {
    progress.show({ event: 'step', step: 'connect' });
    progress.show({ event: 'step', step: 'preflight' });
    progress.line('a line');
    progress.show({ event: 'step', step: 'end' });
    progress.end();
    progress.end();
  });
  assert.is(
    text,
    '\r\x1b[2Kconnecting ...\r\x1b[2Kcomparing both hosts ...\r\x1b[2Ka line\n\r\x1b[2Kending the source ...\r\x1b[2K',
  );
});

test('elsewhere only rounds are, without control characters', () => {
  const text = written(false, (progress) => {
    progress.show({ event: 'step', step: 'connect' });
    progress.show(first);
    progress.end();
  });
  assert.is(text, `${formatRound(first)}\n`);
});

test('colours are for terminals whose user did not refuse them', () => {
  assert.is(stylesFor({ isTTY: true }, {}), coloured);
  assert.is(stylesFor({ isTTY: true }, { NO_COLOR: '' }), coloured);
  assert.is(stylesFor({ isTTY: true }, { NO_COLOR: '1' }), plain);
  assert.is(stylesFor({ isTTY: true }, { TERM: 'dumb' }), plain);
  assert.is(stylesFor({}, {}), plain);
  assert.is(coloured.bad('x'), '\x1b[31mx\x1b[39m');
});

test.run();
