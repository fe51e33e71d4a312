/**
 * Where a shepherd can be reached by an agent that has not started it: a unix socket next to its journal, in a folder
 * that only root enters. The spawner goes there and hands the connection to the agent, which could not.
 */
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** Each is a source that asks, or the same again. */
const mostConnections = 8;

/** An address of any length: what struct sockaddr_un takes is 108 bytes; unix(7). */
class Address implements Disposable {
  readonly #directory: number;
  readonly path: string;

  constructor(directory: string, migration: string) {
    this.#directory = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    this.path = `/proc/self/fd/${this.#directory}/${migration}.socket`;
  }

  unlink(): void {
    try {
      unlinkSync(this.path);
    } catch {
      // It was never there, or somebody was faster.
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#directory);
  }
}

export class Door {
  private constructor(
    private readonly server: Server,
    private readonly address: Address,
  ) {}

  /** Keeps the event loop alive. Rejects where there is one already. */
  static open(directory: string, migration: string, onSocket: (socket: Socket) => void): Promise<Door> {
    const address = new Address(directory, migration);
    const server = createServer(onSocket);
    server.maxConnections = mostConnections;
    return new Promise((resolve, reject) => {
      server.once('error', (error) => {
        address[Symbol.dispose]();
        reject(error);
      });
      server.listen(address.path, () => resolve(new Door(server, address)));
    });
  }

  /** For the end of the process: nothing is awaited. */
  close(): void {
    this.address.unlink();
    this.server.close();
  }
}

/** A connection with the shepherd of a migration; null where none listens. */
export function knock(directory: string, migration: string): Promise<Socket | null> {
  const address = new Address(directory, migration);
  const socket = connect(address.path);
  return new Promise((resolve) => {
    const done = (found: Socket | null) => {
      address[Symbol.dispose]();
      resolve(found);
    };
    socket.once('connect', () => {
      socket.pause();
      done(socket);
    });
    socket.once('error', () => done(null));
  });
}

/** What a shepherd left that was killed. Only for who holds its journal. */
export function removeDoor(directory: string, migration: string): void {
  using address = new Address(directory, migration);
  address.unlink();
}
