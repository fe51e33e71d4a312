/** The rounds of pre-copy as they happen: sent, measured, told, and ended by the stop rule of rounds.ts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MigrationError } from '../shared/errors.js';
import type { Interruption } from './interruption.js';
import type { MigrationOptions } from './options.js';
import type { PageStream } from './page-stream.js';
import type { PreCopy, RoundResult } from './precopy.js';
import { closingIsOver, decide, predictedDowntimeMs, type RoundMeasure } from './rounds.js';
import { collectGarbage } from './warm-up.js';

/** What a freeze costs beside its pages, in milliseconds. */
const assumedFixedMs = 5;

/** Full rounds until the predicted downtime is short enough. Throws MigrationError 'downtime-exceeded'. */
export async function sendRounds(
  precopy: PreCopy,
  stream: PageStream,
  options: MigrationOptions,
  interruption: Interruption,
): Promise<RoundResult[]> {
  const rounds: RoundResult[] = [];
  const history: RoundMeasure[] = [];
  for (;;) {
    const round = await interruption.during(precopy.round());
    const before = rounds.at(-1);
    rounds.push(round);
    history.push({
      bytes: round.bytes,
      durationMs: round.durationMs,
      dirtiedOverMs: before ? round.collectedAtMs - before.collectedAtMs : null,
    });
    tellRound(options, rounds.length - 1, round, history, false);
    if (rounds.length === 1) stream.measured((round.sent.wireBytes / Math.max(round.durationMs, 1)) * 1000);
    const decision = decide(history, assumedFixedMs, options);
    if (decision.next === 'freeze') return rounds;
    if (decision.next === 'cancel') {
      throw new MigrationError(
        'downtime-exceeded',
        'the rounds do not get shorter, and --on-stall says cancel',
      );
    }
    await interruption.during(sleep(decision.waitMs));
  }
}

/** Short rounds one behind the other, right before the freeze: only what is written during them is left. */
export async function closeRounds(
  precopy: PreCopy,
  options: MigrationOptions,
  first: number,
  interruption: Interruption,
): Promise<RoundResult[]> {
  const rounds: RoundResult[] = [];
  collectGarbage();
  while (!closingIsOver(rounds.map(({ bytes }) => bytes))) {
    const round = await interruption.during(precopy.round({ thorough: rounds.length === 0 }));
    rounds.push(round);
    tellRound(options, first + rounds.length - 1, round, [], true);
  }
  return rounds;
}

function tellRound(
  { onEvent }: MigrationOptions,
  number: number,
  round: RoundResult,
  history: readonly RoundMeasure[],
  closing: boolean,
): void {
  const { sent, durationMs } = round;
  const last = history.at(-1);
  onEvent({
    event: 'round',
    round: number,
    closing,
    pages: sent.pages,
    zeroPages: sent.zeroPages + sent.skippedPages,
    wireBytes: sent.wireBytes,
    durationMs,
    rateBytesPerSecond: ((sent.pages * 4096) / Math.max(durationMs, 0.001)) * 1000,
    dirtyBytesPerSecond: last?.dirtiedOverMs ? (last.bytes / last.dirtiedOverMs) * 1000 : null,
    predictedDowntimeMs: last ? predictedDowntimeMs(history, assumedFixedMs) : durationMs + assumedFixedMs,
  });
}
