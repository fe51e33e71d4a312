/** What a migration tells while it goes on: one line for each round, and on a terminal the step it is at. */
import type {
  MigrationEvent,
  RestartEvent,
  RoundEvent,
  StepEvent,
  TrackerEvent,
} from '../source-agent/report.js';
import { formatBytes, formatMs, formatRate } from './units.js';

const stepTexts: Record<StepEvent['step'], string> = {
  inspect: 'looking at the process',
  connect: 'connecting',
  preflight: 'comparing both hosts',
  arm: 'arming the tracker',
  build: 'building the skeleton on the target',
  rounds: 'sending memory while the process runs',
  settle: 'preparing both sides for the freeze',
  freeze: 'frozen: sending what changed last',
  commit: 'handing over',
  end: 'ending the source',
};

export function formatStep({ step }: StepEvent): string {
  return `${stepTexts[step]} ...`;
}

/** Columns keep their places from round to round; `  closing` marks the short rounds right before the freeze. */
export function formatRound(event: RoundEvent): string {
  const dirty = event.dirtyBytesPerSecond === null ? '-' : formatRate(event.dirtyBytesPerSecond);
  return [
    `round ${String(event.round).padStart(2)}`,
    `${String(event.pages).padStart(9)} pages`,
    formatBytes(event.wireBytes).padStart(10),
    `at ${formatRate(event.rateBytesPerSecond).padStart(10)}`,
    `dirtied ${dirty.padStart(10)}`,
    `downtime now ${formatMs(event.predictedDowntimeMs).padStart(8)}${event.closing ? '  closing' : ''}`,
  ].join('  ');
}

/** What a freeze that carries everything means is said aloud. */
export function formatTracker({ tracker, why }: Pick<TrackerEvent, 'tracker' | 'why'>): string {
  const name = tracker === 'none' ? 'none: stop and copy, one freeze carries everything' : tracker;
  return `${name} (${why})`;
}

export function formatRestart({ what, start, most }: RestartEvent): string {
  return `${what}: starting over (${start} of ${most})`;
}

export interface ProgressSink {
  isTTY?: boolean;
  write(text: string): unknown;
}

const clearLine = '\r\x1b[2K';

/** Writes events as lines; a step is overwritten by what comes after it. */
export class Progress {
  #hasStep = false;
  constructor(private readonly sink: ProgressSink) {}

  show(event: MigrationEvent): void {
    if (event.event === 'round') {
      this.line(formatRound(event));
    } else if (event.event === 'tracker') {
      this.line(`tracker ${formatTracker(event)}`);
    } else if (event.event === 'restart') {
      this.line(formatRestart(event));
    } else if (this.sink.isTTY) {
      this.sink.write(`${clearLine}${formatStep(event)}`);
      this.#hasStep = true;
    }
  }

  /** A whole line of its own. */
  line(text: string): void {
    this.end();
    this.sink.write(`${text}\n`);
  }

  /** Takes the last step away, so that other output starts on a line of its own. */
  end(): void {
    if (this.#hasStep) this.sink.write(clearLine);
    this.#hasStep = false;
  }
}
