/**
 * What may break off the work before the freeze: the user, the link, or what the target says of its own accord. A
 * round can take minutes; whoever waits for it should not.
 */
import { isKernelError, MigrationError } from '../shared/errors.js';
import { type Conversation, failureOf } from './conversation.js';

export class Interruption {
  readonly #broken: Promise<never>;

  constructor(
    private readonly conversation: Conversation,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.#broken = new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(interrupted()), { once: true });
      conversation.session.control.onEnd(reject);
      conversation.session.control.onUnread((message) => {
        if (message.type === 'failed') reject(failureOf(message));
      });
    });
    this.#broken.catch(() => undefined);
  }

  /**
   * What `work` resolves to. Throws MigrationError as soon as it is broken off: 'interrupted', 'link-lost', or what
   * the target said; the work itself then fails by itself when its channels are closed.
   */
  async during<T>(work: Promise<T>): Promise<T> {
    work.catch(() => undefined);
    if (this.signal?.aborted) throw interrupted();
    try {
      return await Promise.race([work, this.#broken]);
    } catch (error) {
      throw isLoss(error) ? await this.conversation.reasonOf(error) : error;
    }
  }
}

export function interrupted(): MigrationError {
  return new MigrationError('interrupted', 'the migration was interrupted');
}

/** The other end of a channel is gone: pages and messages have one each, and either may notice first. */
function isLoss(error: unknown): boolean {
  return (
    isKernelError(error, 'EPIPE', 'ECONNRESET', 'ECANCELED') ||
    (error instanceof MigrationError && error.code === 'link-lost')
  );
}
