/** Callers that hold the secret, or do not, and do not keep to the protocol. */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import type { Address } from '../../../shared/protocol/address.js';
import { tlsOptions } from '../../../shared/protocol/handshake.js';
import type { Secret } from '../../../shared/secret.js';

/** An authenticated TLS connection on which nothing has been said. */
export function rawTls(address: Address, secret: Secret): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const tls = connectTls({
      ...tlsOptions,
      ...address,
      pskCallback: () => ({ psk: secret.key, identity: secret.identity }),
    });
    tls.on('error', reject);
    tls.once('secureConnect', () => resolve(tls));
  });
}

/** A WebSocket on it; resolves with the status where the upgrade is refused. */
export async function rawControl(
  address: Address,
  secret: Secret,
  protocol: string | string[],
  path = '/control',
): Promise<WebSocket | { status: number; headers: Record<string, unknown> }> {
  const tls = await rawTls(address, secret);
  const webSocket = new WebSocket(`wss://target${path}`, protocol, { createConnection: () => tls });
  return new Promise((resolve, reject) => {
    webSocket.on('error', reject);
    webSocket.once('open', () => resolve(webSocket));
    webSocket.once('unexpected-response', (_request, response) => {
      resolve({ status: response.statusCode ?? 0, headers: response.headers });
      tls.destroy();
    });
  });
}

/** Sends bytes on a new connection and collects what comes until the other side closes it. */
export function say(address: Address, bytes: string | Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket: Socket = connectTcp(address, () => socket.write(bytes));
    const heard: Buffer[] = [];
    socket.on('data', (chunk) => heard.push(chunk));
    socket.on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(heard)));
  });
}
