/** A man in the middle: forwards TCP connections, records what callers say, and falls silent or cuts on demand. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Address } from '../../../shared/protocol/address.js';

export interface Middleman {
  address: Address;
  /** What each connection's caller has sent, in the order in which they came. */
  said: Buffer[];
  /** From now on nothing is forwarded; connections stay open. */
  hush(): void;
  /** Resets all connections. */
  cut(): void;
  close(): Promise<void>;
}

export async function proxyTo(target: Address): Promise<Middleman> {
  const said: Buffer[] = [];
  const sockets: Socket[] = [];
  let silent = false;
  const server = createServer((caller) => {
    const called = connect(target);
    const index = said.push(Buffer.alloc(0)) - 1;
    caller.on('data', (chunk) => {
      said[index] = Buffer.concat([said[index]!, chunk]);
      if (!silent) called.write(chunk);
    });
    called.on('data', (chunk) => {
      if (!silent) caller.write(chunk);
    });
    for (const [one, other] of [
      [caller, called],
      [called, caller],
    ] as const) {
      sockets.push(one);
      one.on('error', () => {});
      one.on('close', () => {
        if (!silent) other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  return {
    address: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
    said,
    hush: () => {
      silent = true;
    },
    cut,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
