/** The page channels of one session as the called side sees them: who may open which, and who waits for it. */
import { timingSafeEqual } from 'node:crypto';
import { closeSync } from 'node:fs';
import { MigrationError } from '../errors.js';
import { assertChannelNumber, isChannelNumber, type PageChannel, type SessionKeys } from './handshake.js';

interface Waiter {
  resolve(descriptor: number): void;
  reject(error: MigrationError): void;
}

export class PageChannels {
  readonly #keys: SessionKeys;
  readonly #peer: string;
  /** Numbers whose token has been used. */
  readonly #opened = new Set<number>();
  /** Numbers that were handed out. */
  readonly #taken = new Set<number>();
  /** Descriptors that came before anybody asked. */
  readonly #arrived = new Map<number, number>();
  readonly #waiters = new Map<number, Waiter>();
  #end: MigrationError | undefined;

  constructor(keys: SessionKeys, peer: string) {
    this.#keys = keys;
    this.#peer = peer;
  }

  /** Whether `token` opens the channel; from then on it does not any more. */
  admit(channel: number, token: Buffer): boolean {
    if (this.#end || !isChannelNumber(channel) || this.#opened.has(channel)) return false;
    const expected = this.#keys.token(channel);
    if (token.length !== expected.length || !timingSafeEqual(token, expected)) return false;
    this.#opened.add(channel);
    return true;
  }

  /** The connection of an admitted channel; this object owns it until somebody waits for it. */
  arrive(channel: number, descriptor: number): void {
    const waiter = this.#waiters.get(channel);
    if (this.#end) closeSync(descriptor);
    else if (waiter) waiter.resolve(descriptor);
    else this.#arrived.set(channel, descriptor);
  }

  async wait(channel: number, timeoutMs: number): Promise<PageChannel> {
    assertChannelNumber(channel);
    if (this.#taken.has(channel) || this.#waiters.has(channel)) {
      throw new RangeError(`page channel ${channel} was asked for before`);
    }
    if (this.#end) throw this.#end;
    const descriptor = this.#arrived.get(channel) ?? (await this.#next(channel, timeoutMs));
    this.#arrived.delete(channel);
    this.#taken.add(channel);
    return { descriptor, key: this.#keys.key(channel), channel };
  }

  /** The session is over: nobody gets a channel any more. Those handed out belong to their takers. */
  end(error: MigrationError): void {
    this.#end = error;
    for (const waiter of this.#waiters.values()) waiter.reject(error);
    for (const descriptor of this.#arrived.values()) closeSync(descriptor);
    this.#arrived.clear();
  }

  async #next(channel: number, timeoutMs: number): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<number>((resolve, reject) => {
        this.#waiters.set(channel, { resolve, reject });
        timer = setTimeout(() => {
          const what = `${this.#peer} did not open page channel ${channel} within ${timeoutMs} ms`;
          reject(new MigrationError('link-lost', what));
        }, timeoutMs);
      });
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(channel);
    }
  }
}
