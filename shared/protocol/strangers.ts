/** Connections that have not authenticated yet: bounded in number and in time. */
import type { Socket } from 'node:net';
import { formatAddress } from './address.js';

export class Strangers {
  readonly #limit: number;
  readonly #timeoutMs: number;
  readonly #log: (line: string) => void;
  /** By address and port of the other side, which TLS and HTTP wrappers of a socket share with it. */
  readonly #waiting = new Map<string, { socket: Socket; timer: NodeJS.Timeout }>();

  constructor(limit: number, timeoutMs: number, log: (line: string) => void) {
    this.#limit = limit;
    this.#timeoutMs = timeoutMs;
    this.#log = log;
  }

  /** False where there are too many already; the socket is destroyed then. */
  enter(socket: Socket): boolean {
    const peer = peerOf(socket);
    if (this.#waiting.size >= this.#limit) {
      this.#log(`${peer} was dropped: ${this.#limit} connections are waiting to authenticate`);
      socket.destroy();
      return false;
    }
    const timer = setTimeout(() => {
      this.#log(`${peer} did not authenticate within ${this.#timeoutMs} ms`);
      socket.destroy();
    }, this.#timeoutMs);
    this.#waiting.set(peer, { socket, timer });
    socket.once('close', () => {
      clearTimeout(timer);
      // The port may belong to a newer connection already.
      if (this.#waiting.get(peer)?.socket === socket) this.#waiting.delete(peer);
    });
    return true;
  }

  /** This one has authenticated. */
  admit(peer: string): void {
    clearTimeout(this.#waiting.get(peer)?.timer);
    this.#waiting.delete(peer);
  }

  dismiss(): void {
    for (const { socket } of this.#waiting.values()) socket.destroy();
  }
}

/** The other side as address:port; empty parts where the connection is gone already. */
export function peerOf(socket: Socket): string {
  const { remoteAddress = '', remotePort = 0 } = socket;
  return formatAddress({ host: remoteAddress, port: remotePort });
}
