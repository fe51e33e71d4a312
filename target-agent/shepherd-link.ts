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
    /** Null where nothing is left to be filled: what another session began. */
    private readonly transfer: number | null = null,
  ) {
    this.#channel = new LocalChannel<FromShepherd, WireValue>(messages, {
      schema: FromShepherd,
      peer: 'the shepherd',
    });
  }

  get ended(): boolean {
    return this.#channel.ended;
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

  /** Calls back with all that it says from now on. */
  listen(listener: (message: FromShepherd) => void): void {
    this.#channel.onMessage(listener);
  }

  /** An agent that ends does not wait for the processes it has received. */
  unreference(): void {
    this.#channel.setReferenced(false);
  }

  /** The skeleton's memory and userfaultfd; whoever receives them closes them. */
  receiveTarget(): { memory: number; userfault: number } {
    if (this.transfer === null) throw new Error('this shepherd has nothing to be filled');
    const received = native.receiveDescriptors(this.transfer, transferMs);
    const [memory, userfault] = received;
    if (received.length !== 2) {
      for (const fd of received) closeSync(fd);
      throw new MigrationError('target-failed', 'the shepherd sent no way to the memory of the skeleton');
    }
    return { memory: memory!, userfault: userfault! };
  }

  /** Lets go of the shepherd: until it has said `prepared` that is its end, after it nothing to it. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.transfer !== null) closeSync(this.transfer);
    void this.#channel.close();
  }
}
