/**
 * The agent's end of the helper that outlives it (holder-process.ts). From COMMIT on the source stays stopped whatever
 * happens to the agent; should it die before, the helper lets the program go on.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { MigrationError } from '../shared/errors.js';
import type { Journal } from '../shared/journal.js';
import type { Hold } from './hold.js';

const program = fileURLToPath(new URL('./holder-process.js', import.meta.url));
const readyMs = 30_000;
const endMs = 5000;

export class Holder implements AsyncDisposable {
  readonly #ready: Promise<void>;
  #hold: Hold | null = null;
  #holding = false;
  #onThawed: () => void = () => undefined;

  private constructor(private readonly child: ChildProcess) {
    // What is said to a helper that has died is lost, and noticed where it matters.
    child.stdin!.on('error', () => undefined);
    child.on('error', () => undefined);
    this.#ready = new Promise((resolve, reject) => {
      const fail = () => reject(new MigrationError('internal', 'the helper that holds the process has died'));
      const timer = setTimeout(fail, readyMs);
      child.once('exit', fail);
      child.stdout!.setEncoding('latin1').on('data', (text: string) => {
        if (text.includes('ready')) {
          clearTimeout(timer);
          resolve();
        }
        if (text.includes('thawed')) this.#onThawed();
      });
    });
    this.#ready.catch(() => undefined);
  }

  /** `directory` is that of the journal; the helper shares its lock until it has decided. */
  static start(journal: Journal, directory: string): Holder {
    const { pid, migration } = journal.identity;
    // A session of its own: what ends the agent by its terminal does not end the helper.
    const child = spawn(process.execPath, [program, String(pid), migration, directory], {
      stdio: ['pipe', 'pipe', 'ignore', journal.descriptor],
      detached: true,
      cwd: '/',
      env: {},
    });
    return new Holder(child);
  }

  /** With what it will hold, or holds already (`holding`), once the helper is there. */
  async take(hold: Hold, holding = false): Promise<void> {
    this.#hold = hold;
    await this.#ready;
    if (holding) this.#say('hold');
    this.#holding = holding;
  }

  /** Called when somebody else let the held process go; it is held again by then. */
  set onThawed(callback: () => void) {
    this.#onThawed = callback;
  }

  /** Throws where it does not hold, or nobody would let go should the agent die. */
  hold(): void {
    const { pid, exitCode, signalCode } = this.child;
    if (!this.#hold || pid === undefined || exitCode !== null || signalCode !== null)
      throw new MigrationError('internal', 'the helper that holds the process has died');
    this.#say('hold');
    this.#holding = true;
    this.#hold.hold();
  }

  /** Nothing where it does not hold. Throws where the process has ended. */
  release(): void {
    if (!this.#holding) return;
    this.#holding = false;
    // First, or the helper would hold it again.
    this.#say('releasing');
    try {
      this.#hold!.letGo();
    } finally {
      this.#say('released');
    }
  }

  /** Where it is not held any more nothing is left of it. */
  async remove(): Promise<void> {
    if (!this.#holding) await this.#hold?.remove();
  }

  #say(line: string): void {
    this.child.stdin!.write(`${line}\n`);
  }

  /** The helper decides by the journal, and ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { child } = this;
    this.#onThawed = () => undefined;
    this.#hold?.[Symbol.dispose]();
    child.stdin!.end();
    if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const timer = setTimeout(() => child.unref(), endMs);
    await Promise.race([once(child, 'exit'), new Promise((resolve) => setTimeout(resolve, endMs).unref())]);
    clearTimeout(timer);
    child.stdout!.destroy();
  }
}
