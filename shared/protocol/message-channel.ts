/**
 * What every channel between two agents' processes has in common: messages in, each checked by the caller's schema,
 * read one at a time (`receive`) or as they come (`onMessage`); messages out; and one end, told to everybody once.
 * Subclasses bring the transport: ControlChannel a WebSocket, LocalChannel a unix socket.
 */
import * as v from 'valibot';
import { MigrationError } from '../errors.js';
import { decode, encode, maxMessageBytes, type WireValue } from './codec.js';

export interface MessageChannelOptions<In> {
  /** Every message that comes in has passed this schema. */
  readonly schema: v.GenericSchema<unknown, In>;
  /** How errors name the other side. */
  readonly peer: string;
  /** Bound of one message in bytes, both ways (64 MiB). Twice as much may wait unread. */
  readonly maxMessageBytes?: number | undefined;
}

/** What an unread message weighs beyond its bytes: a flood of tiny ones must meet the bound too. */
const unreadOverhead = 128;

interface Waiter<In> {
  resolve(message: In): void;
  reject(error: MigrationError): void;
}

export abstract class MessageChannel<In, Out extends WireValue> {
  readonly peer: string;
  protected readonly maxMessageBytes: number;
  readonly #schema: v.GenericSchema<unknown, In>;
  #unread: { message: In; bytes: number }[] = [];
  #unreadBytes = 0;
  #waiters: Waiter<In>[] = [];
  #listener: ((message: In) => void) | undefined;
  #unreadListener: ((message: In) => void) | undefined;
  #end: MigrationError | undefined;
  #endListeners: ((error: MigrationError) => void)[] = [];

  constructor(options: MessageChannelOptions<In>) {
    this.peer = options.peer;
    this.maxMessageBytes = options.maxMessageBytes ?? maxMessageBytes;
    this.#schema = options.schema;
  }

  /** Hands the message to the transport at once. Throws the channel's end where it has ended. */
  send(message: Out): void {
    if (this.#end) throw this.#end;
    const bytes = encode(message);
    if (bytes.length > this.maxMessageBytes) {
      throw new MigrationError(
        'internal',
        `a message of ${bytes.length} bytes is over the bound of ${this.maxMessageBytes}`,
      );
    }
    this.transmit(bytes);
  }

  /**
   * The next message, in order. Messages that came before the end are still given out after it; then the end is
   * thrown ('link-lost', 'protocol-violation'). A wait that takes longer than timeoutMs rejects with 'link-lost' and
   * leaves the channel open: a caller that does not know what it missed should close it.
   */
  receive(timeoutMs?: number): Promise<In> {
    const next = this.#unread.shift();
    if (next) {
      this.#unreadBytes -= next.bytes;
      return Promise.resolve(next.message);
    }
    if (this.#end) return Promise.reject(this.#end);
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
      };
      const waiter: Waiter<In> = {
        resolve: (message) => {
          settle();
          resolve(message);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => {
              const what = `${this.peer} sent no message within ${timeoutMs} ms`;
              waiter.reject(new MigrationError('link-lost', what));
            }, timeoutMs);
      this.#waiters.push(waiter);
    });
  }

  /** Calls back with every message from now on, unread ones first; undefined returns to `receive`. */
  onMessage(listener: ((message: In) => void) | undefined): void {
    this.#listener = listener;
    while (this.#listener && this.#unread.length > 0) {
      const { message, bytes } = this.#unread.shift()!;
      this.#unreadBytes -= bytes;
      this.#listener(message);
    }
  }

  /** Calls back with every message from now on that comes while nobody waits for one; it stays to be read. */
  onUnread(listener: (message: In) => void): void {
    this.#unreadListener = listener;
  }

  /** Calls back once when the channel has ended, at once where it already has. */
  onEnd(listener: (error: MigrationError) => void): void {
    if (this.#end) listener(this.#end);
    else this.#endListeners.push(listener);
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** Ends the channel after what was sent has gone out. Resolves when the transport is closed. */
  close(): Promise<void> {
    this.end(new MigrationError('link-lost', `the connection with ${this.peer} was closed on this side`));
    return this.shut();
  }

  /** Sends bytes of one message, without delay. */
  protected abstract transmit(bytes: Buffer): void;
  /** Closes the transport, orderly where it still can; `why` tells the other side of a violation. */
  protected abstract shut(why?: MigrationError): Promise<void>;

  /** One message has come in. */
  protected accept(bytes: Buffer): void {
    if (this.#end) return;
    let value: unknown;
    try {
      value = decode(bytes);
    } catch (cause) {
      this.violate(`sent bytes that are no message: ${(cause as Error).message}`, cause);
      return;
    }
    const result = v.safeParse(this.#schema, value);
    if (!result.success) {
      this.violate(`sent an invalid message: ${describe(result.issues[0])}`);
      return;
    }
    const waiter = this.#waiters[0];
    if (this.#listener) this.#listener(result.output);
    else if (waiter) waiter.resolve(result.output);
    else {
      this.#unread.push({ message: result.output, bytes: bytes.length + unreadOverhead });
      this.#unreadBytes += bytes.length + unreadOverhead;
      if (this.#unreadBytes > 2 * this.maxMessageBytes) this.violate('sent more than anybody reads here');
      else this.#unreadListener?.(result.output);
    }
  }

  /** The other side broke the rules: the channel ends. */
  protected violate(what: string, cause?: unknown): void {
    const error = new MigrationError('protocol-violation', `${this.peer} ${what}`, {}, { cause });
    this.end(error);
    void this.shut(error);
  }

  /** The channel is over; only the first reason counts. */
  protected end(error: MigrationError): void {
    if (this.#end) return;
    this.#end = error;
    for (const waiter of this.#waiters) waiter.reject(error);
    const listeners = this.#endListeners;
    this.#endListeners = [];
    for (const listener of listeners) listener(error);
  }
}

/** Where and what, in a bounded line: the text may quote what a stranger sent. */
function describe(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue as Parameters<typeof v.getDotPath>[0]);
  return printable(path === null ? issue.message : `${path}: ${issue.message}`);
}

/** Foreign text made fit for an error or a log line. */
export function printable(text: string): string {
  const short = text.length > 200 ? `${text.slice(0, 200)}...` : text;
  return short.replace(/[^\x20-\x7e]/g, '?');
}
