/** The agent's link to one shepherd: messages relayed both ways, descriptors of the skeleton received. */
import { closeSync } from 'node:fs';
import { native } from '../native/index.js';
import { MigrationError } from '../shared/errors.js';
import type { WireValue } from '../shared/protocol/codec.js';
import { LocalChannel } from '../shared/protocol/local.js';
import { FromShepherd, type ToShepherd } from './local-messages.js';

const answerMs = 600000;
const transferMs = 5000;

export class ShepherdLink implements Disposable {
  readonly #channel: LocalChannel<FromShepherd, WireValue>;

  constructor(
    messages: number,
    private readonly transfer: number,
  ) {
    this.#channel = new LocalChannel<FromShepherd, WireValue>(messages, {
      schema: FromShepherd,
      peer: 'the shepherd',
    });
  }

  say(message: ToShepherd): void {
    this.#channel.send(message as unknown as WireValue);
  }

  /** The next answer, or the next message ever without a time limit. Throws 'target-failed' when the shepherd is gone. */
  async answer(timeoutMs: number | null = answerMs): Promise<FromShepherd> {
    try {
      return await this.#channel.receive(timeoutMs ?? undefined);
    } catch (cause) {
      throw new MigrationError('target-failed', 'the shepherd of this migration ended', {}, { cause });
    }
  }

  ask(message: ToShepherd): Promise<FromShepherd> {
    this.say(message);
    return this.answer();
  }

  /** From here on it is only listened to: the link does not keep the agent alive. */
  unreference(): void {
    this.#channel.setReferenced(false);
  }

  /** The skeleton's memory and userfaultfd; whoever receives them closes them. */
  receiveTarget(): { memory: number; userfault: number } {
    const received = native.receiveDescriptors(this.transfer, transferMs);
    const [memory, userfault] = received;
    if (received.length !== 2) {
      for (const fd of received) closeSync(fd);
      throw new MigrationError('target-failed', 'the shepherd sent no way to the memory of the skeleton');
    }
    return { memory: memory!, userfault: userfault! };
  }

  [Symbol.dispose](): void {
    closeSync(this.transfer);
    void this.#channel.close();
  }
}
