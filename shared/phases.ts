/** Names the parts of a span of time: each mark closes a part. Times in milliseconds. */
export class PhaseClock {
  readonly #phases: Record<string, number> = {};
  #last: number;

  constructor(readonly startedMs = performance.now()) {
    this.#last = startedMs;
  }

  /** The time since the last mark belongs to `phase`; a name used twice adds up. */
  mark(phase: string): void {
    const now = performance.now();
    this.#phases[phase] = (this.#phases[phase] ?? 0) + (now - this.#last);
    this.#last = now;
  }

  get phases(): Record<string, number> {
    return { ...this.#phases };
  }

  get totalMs(): number {
    return this.#last - this.startedMs;
  }
}
