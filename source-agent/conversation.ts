/** The source's side of the control channel: say something, await the answer that belongs to it. */
import { MigrationError } from '../shared/errors.js';
import type { WireValue } from '../shared/protocol/codec.js';
import { connect } from '../shared/protocol/connection.js';
import type { AgentSession } from '../shared/protocol/handshake.js';
import { type FromSource, FromTarget } from '../shared/protocol/messages.js';
import type { MigrationOptions } from './options.js';

/** What a `failed` message says, as the error it was over there. */
export function failureOf({ code, what, phase, object }: Answer<'failed'>): MigrationError {
  return new MigrationError(code, what, {
    ...(phase === undefined ? {} : { phase }),
    ...(object === undefined ? {} : { object }),
  });
}

type Answer<Type extends FromTarget['type']> = Extract<FromTarget, { type: Type }>;

/** How long a target that hangs up on one channel may take to say why on the other. */
const lastWordsMs = 2000;

export class Conversation implements AsyncDisposable {
  private constructor(readonly session: AgentSession<FromTarget, WireValue>) {}

  static async open({ target, secret }: Pick<MigrationOptions, 'target' | 'secret'>): Promise<Conversation> {
    return new Conversation(await connect<FromTarget, WireValue>({ ...target, secret, schema: FromTarget }));
  }

  say(message: FromSource): void {
    this.session.control.send(message as unknown as WireValue);
  }

  /**
   * The next message, which must be of one of these types. Throws MigrationError: what the target says in a `failed`
   * message, 'protocol-violation', 'link-lost'.
   */
  async expect<Type extends FromTarget['type']>(timeoutMs: number, ...types: Type[]): Promise<Answer<Type>> {
    const message = await this.hear<Type | 'failed'>(timeoutMs, 'failed', ...types);
    if ((types as string[]).includes(message.type)) return message as Answer<Type>;
    throw failureOf(message as Answer<'failed'>);
  }

  /** The same where a `failed` message is nothing special. */
  async hear<Type extends FromTarget['type']>(timeoutMs: number, ...types: Type[]): Promise<Answer<Type>> {
    const message = await this.session.control.receive(timeoutMs);
    if ((types as string[]).includes(message.type)) return message as Answer<Type>;
    const what = `the target answered "${message.type}" where "${types.join('" or "')}" was due`;
    throw new MigrationError('protocol-violation', what);
  }

  async ask<Type extends FromTarget['type']>(
    message: FromSource,
    timeoutMs: number,
    ...types: Type[]
  ): Promise<Answer<Type>> {
    this.say(message);
    return this.expect(timeoutMs, ...types);
  }

  /** Waits until the target has given up what it had built; answers that are still under way are of no interest. */
  async awaitAborted(timeoutMs: number): Promise<void> {
    while ((await this.session.control.receive(timeoutMs)).type !== 'aborted');
  }

  /** Why a channel was lost, if the target has said so or does it now; else that it was lost. */
  async reasonOf(loss: unknown): Promise<MigrationError> {
    try {
      await this.expect(lastWordsMs);
      throw new Error('no message was due');
    } catch (error) {
      if (error instanceof MigrationError && error.code !== 'protocol-violation') return error;
      const what = `the connection with ${this.session.peer} was lost`;
      return new MigrationError('link-lost', what, {}, { cause: loss });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session.control.close();
  }
}
