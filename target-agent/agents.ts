/**
 * The agents a shepherd, or a witness, hears and tells: the one that began the migration, and any that ask about it later. One that is
 * gone is no loss: the hand-over says again what it waits for.
 */
import type { Socket } from 'node:net';
import type { WireValue } from '../shared/protocol/codec.js';
import { LocalChannel } from '../shared/protocol/local.js';
import { type FromShepherd, ToHeld, ToShepherd } from './local-messages.js';

export interface Listening {
  /** From the agent that began it. */
  onMessage: (message: ToShepherd) => void;
  /** From one that came later. */
  onLater: (message: ToHeld) => void;
  /** One has gone. */
  onLeft: () => void;
}

export class Agents {
  readonly #first: LocalChannel<ToShepherd, WireValue>;
  readonly #later = new Set<LocalChannel<ToHeld, WireValue>>();

  constructor(
    first: number,
    private readonly listening: Listening,
  ) {
    this.#first = new LocalChannel<ToShepherd, WireValue>(first, { schema: ToShepherd, peer: 'the agent' });
    this.#first.onMessage(listening.onMessage);
    this.#first.onEnd(() => listening.onLeft());
  }

  add(socket: Socket): void {
    const channel = new LocalChannel<ToHeld, WireValue>(socket, { schema: ToHeld, peer: 'a later agent' });
    this.#later.add(channel);
    channel.onMessage(this.listening.onLater);
    channel.onEnd(() => {
      this.#later.delete(channel);
      this.listening.onLeft();
    });
  }

  /** The one that began it is gone: nothing more comes of the process. */
  get firstLeft(): boolean {
    return this.#first.ended;
  }

  get allLeft(): boolean {
    return this.#first.ended && this.#later.size === 0;
  }

  /** An answer to the agent that began it. */
  answer(message: FromShepherd): void {
    if (!this.#first.ended) this.#first.send(message as unknown as WireValue);
  }

  /** What concerns everybody who asks. */
  tell(message: FromShepherd): void {
    this.answer(message);
    for (const channel of this.#later) if (!channel.ended) channel.send(message as unknown as WireValue);
  }
}
