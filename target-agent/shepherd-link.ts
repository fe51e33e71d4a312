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
  #closed = false;

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

  /** Calls back when the shepherd is gone, whoever ended the link. */
  onEnd(listener: () => void): void {
    this.#channel.onEnd(listener);
  }

  /** The next answer. Throws 'target-failed' when the shepherd is gone or says nothing for ten minutes. */
  async answer(): Promise<FromShepherd> {
    try {
      return await this.#channel.receive(answerMs);
    } catch (cause) {
      throw new MigrationError('target-failed', 'the shepherd of this migration ended', {}, { cause });
    }
  }

  ask(message: ToShepherd): Promise<FromShepherd> {
    this.say(message);
    return this.answer();
  }

  /** How the migrated process ended, however long that takes; null when the shepherd is gone without a word. */
  async ended(): Promise<Extract<FromShepherd, { type: 'ended' }> | null> {
    // An agent that ends does not wait for the processes it has received.
    this.#channel.setReferenced(false);
    try {
      for (;;) {
        const message = await this.#channel.receive();
        if (message.type === 'ended') return message;
      }
    } catch {
      return null; // it keeps a record of its own
    }
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

  /** Lets go of the shepherd: without a decision that is its end, after it nothing to it. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.transfer);
    void this.#channel.close();
  }
}
