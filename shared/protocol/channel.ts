/**
 * The control channel: messages over the WebSocket of a session. Nothing delays a message (no Nagle, no deflate, no
 * corking), and a heartbeat notices a link that has died without a word.
 */
import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';
import { MigrationError } from '../errors.js';
import type { WireValue } from './codec.js';
import { MessageChannel, type MessageChannelOptions, printable } from './message-channel.js';

export interface Heartbeat {
  /** Time between two pings (5 s). */
  readonly intervalMs: number;
  /** Silence after which the link counts as lost (15 s), in whole intervals, rounded up. */
  readonly deadlineMs: number;
}

export const defaultHeartbeat: Heartbeat = { intervalMs: 5_000, deadlineMs: 15_000 };
/** How long an orderly close waits for the other side. */
const closeTimeoutMs = 2_000;

export interface ControlChannelOptions<In> extends MessageChannelOptions<In> {
  readonly heartbeat?: Heartbeat | undefined;
}

export class ControlChannel<In, Out extends WireValue> extends MessageChannel<In, Out> {
  readonly #webSocket: WebSocket;
  readonly #closed: Promise<void>;

  /**
   * `webSocket` is open, made with perMessageDeflate off and maxPayload as the bound here; `socket` is what it runs
   * on. Construct it in the same tick as the handshake ends: messages may follow it immediately.
   */
  constructor(webSocket: WebSocket, socket: Socket, options: ControlChannelOptions<In>) {
    super(options);
    this.#webSocket = webSocket;
    socket.setNoDelay(true);
    webSocket.binaryType = 'nodebuffer';
    webSocket.on('message', (data, isBinary) => {
      if (isBinary) this.accept(data as Buffer);
      else this.violate('sent text where messages are binary');
    });
    webSocket.on('error', (error: NodeJS.ErrnoException) => {
      // ws names its own complaints (frames that break the protocol, messages over the bound) WS_ERR_*.
      if (error.code?.startsWith('WS_ERR_')) this.violate(`broke the protocol: ${error.message}`, error);
      else
        this.end(
          this.#lost(`the connection with ${this.peer} broke (${error.code ?? error.message})`, error),
        );
    });
    this.#closed = new Promise((resolve) => {
      webSocket.once('close', (code, reason) => {
        clearInterval(timer);
        const why = reason.length > 0 ? `: "${printable(reason.toString())}"` : '';
        const what = code === 1006 ? 'ended without a word' : `was closed by the other side${why}`;
        this.end(this.#lost(`the connection with ${this.peer} ${what}`));
        resolve();
      });
    });
    const timer = this.#beat(socket, options.heartbeat ?? defaultHeartbeat);
  }

  protected override transmit(bytes: Buffer): void {
    this.#webSocket.send(bytes, { binary: true, compress: false });
  }

  protected override async shut(why?: MigrationError): Promise<void> {
    // A close reason is bounded to 123 bytes by the WebSocket protocol.
    this.#webSocket.close(why ? 1008 : 1000, why ? printable(why.message).slice(0, 120) : undefined);
    const timer = setTimeout(() => this.#webSocket.terminate(), closeTimeoutMs);
    await this.#closed;
    clearTimeout(timer);
  }

  /**
   * Pings, and gives the link up after enough silent intervals. It counts intervals rather than time, so that an
   * agent that was itself stopped for a while does not blame the link. Any byte that comes in is a sign of life (a
   * long message holds pongs back), and so is a send queue that shrinks (it holds pings back).
   */
  #beat(socket: Socket, { intervalMs, deadlineMs }: Heartbeat): NodeJS.Timeout {
    const allowed = Math.max(1, Math.ceil(deadlineMs / intervalMs));
    let silent = 0;
    let read = socket.bytesRead;
    let queued = 0;
    const beat = () => {
      const alive = socket.bytesRead !== read || this.#webSocket.bufferedAmount < queued;
      silent = alive ? 0 : silent + 1;
      read = socket.bytesRead;
      queued = this.#webSocket.bufferedAmount;
      if (silent >= allowed) {
        this.end(
          this.#lost(`the connection with ${this.peer} is dead: ${silent * intervalMs} ms of silence`),
        );
        this.#webSocket.terminate();
      } else if (this.#webSocket.readyState === this.#webSocket.OPEN) {
        this.#webSocket.ping();
      }
    };
    beat();
    silent = 0;
    return setInterval(beat, intervalMs).unref();
  }

  #lost(what: string, cause?: unknown): MigrationError {
    return new MigrationError('link-lost', what, {}, { cause });
  }
}
