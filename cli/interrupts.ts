/** Ctrl-C and its relatives as an AbortSignal: the first asks for a clean end, later ones say that it is under way. */

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export class Interrupts implements Disposable {
  readonly #controller = new AbortController();
  readonly #listener: (name: NodeJS.Signals) => void;

  constructor(onFirst: (name: NodeJS.Signals) => void, onAgain: (name: NodeJS.Signals) => void) {
    this.#listener = (name) => {
      if (this.#controller.signal.aborted) return onAgain(name);
      onFirst(name);
      this.#controller.abort();
    };
    for (const name of signals) process.on(name, this.#listener);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    for (const name of signals) process.off(name, this.#listener);
  }
}
