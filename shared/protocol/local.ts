/**
 * The same discipline between processes of one host (agent, spawner, shepherd): messages over an inherited unix
 * stream socket, each as u32 length (little-endian) and that many bytes. No heartbeat: the kernel tells when the
 * other end is gone.
 */
import { Socket } from 'node:net';
import { MigrationError } from '../errors.js';
import type { WireValue } from './codec.js';
import { MessageChannel, type MessageChannelOptions } from './message-channel.js';

const lengthBytes = 4;
const closeTimeoutMs = 2_000;

export class LocalChannel<In, Out extends WireValue> extends MessageChannel<In, Out> {
  readonly #socket: Socket;
  readonly #closed: Promise<void>;
  /** What has come and is not a whole message yet. */
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** Takes over a unix stream socket, or the number of its descriptor. Nothing of it may have been read before. */
  constructor(socket: Socket | number, options: MessageChannelOptions<In>) {
    super(options);
    this.#socket =
      typeof socket === 'number' ? new Socket({ fd: socket, readable: true, writable: true }) : socket;
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', (cause: NodeJS.ErrnoException) => {
      this.end(this.#lost(`broke (${cause.code ?? cause.message})`, cause));
    });
    this.#socket.on('end', () => this.end(this.#lost(this.#bytes > 0 ? 'ended within a message' : 'ended')));
    this.#closed = new Promise((resolve) => {
      this.#socket.once('close', () => {
        this.end(this.#lost('ended'));
        resolve();
      });
    });
  }

  /** Whether this channel alone keeps the process running (it does by default). */
  setReferenced(referenced: boolean): void {
    if (referenced) this.#socket.ref();
    else this.#socket.unref();
  }

  protected override transmit(bytes: Buffer): void {
    const header = Buffer.allocUnsafe(lengthBytes);
    header.writeUInt32LE(bytes.length);
    // Corked only across the two parts, so that they leave in one writev.
    this.#socket.cork();
    this.#socket.write(header);
    this.#socket.write(bytes);
    this.#socket.uncork();
  }

  protected override async shut(why?: MigrationError): Promise<void> {
    if (why) this.#socket.destroy();
    else this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), closeTimeoutMs);
    await this.#closed;
    clearTimeout(timer);
  }

  #take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    while (this.#bytes >= lengthBytes && !this.ended) {
      const length = this.#peekLength();
      if (length > this.maxMessageBytes) {
        this.violate(`announced a message of ${length} bytes; the bound is ${this.maxMessageBytes}`);
        return;
      }
      if (this.#bytes < lengthBytes + length) return;
      const whole = this.#join();
      this.#keep(whole.subarray(lengthBytes + length));
      this.accept(whole.subarray(lengthBytes, lengthBytes + length));
    }
  }

  #peekLength(): number {
    // The first chunk nearly always holds the whole length; where it does not, joining is cheap.
    const first = this.#chunks[0]!.length >= lengthBytes ? this.#chunks[0]! : this.#join();
    return first.readUInt32LE(0);
  }

  #join(): Buffer {
    const whole = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    this.#chunks = [whole];
    return whole;
  }

  #keep(rest: Buffer): void {
    this.#chunks = rest.length > 0 ? [rest] : [];
    this.#bytes = rest.length;
  }

  #lost(what: string, cause?: unknown): MigrationError {
    return new MigrationError('link-lost', `the connection with ${this.peer} ${what}`, {}, { cause });
  }
}
