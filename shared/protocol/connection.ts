/** The calling side of the handshake: see handshake.ts. */
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { WebSocket } from 'ws';
import { asMigrationError, type ErrorCode, MigrationError } from '../errors.js';
import type { Secret } from '../secret.js';
import { type Address, formatAddress } from './address.js';
import { ControlChannel, type ControlChannelOptions } from './channel.js';
import { maxMessageBytes, type WireValue } from './codec.js';
import {
  type AgentSession,
  assertChannelNumber,
  controlPath,
  defaultTimeoutMs,
  type PageChannel,
  protocolHeader,
  protocolName,
  type SessionKeys,
  sessionKeys,
  tlsOptions,
} from './handshake.js';
import { printable } from './message-channel.js';
import { takeDescriptor } from './raw-socket.js';

export interface ConnectOptions<In> extends Address, Omit<ControlChannelOptions<In>, 'peer'> {
  readonly secret: Secret;
  /** For each of the two steps, TLS and upgrade (10 s). */
  readonly timeoutMs?: number;
}

const noDeflate = { perMessageDeflate: false, followRedirects: false } as const;

/**
 * Calls a target agent and authenticates both ways. Throws MigrationError: 'target-unreachable',
 * 'authentication-failed', 'protocol-mismatch'.
 */
export async function connect<In, Out extends WireValue>(
  options: ConnectOptions<In>,
): Promise<AgentSession<In, Out>> {
  const address = { host: options.host || 'localhost', port: options.port };
  const peer = formatAddress(address);
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const tls = await authenticate(address, options.secret, timeoutMs);
  const remote = { host: tls.remoteAddress ?? address.host, port: address.port };
  const webSocket = new WebSocket(`wss://${peer}${controlPath}`, protocolName, {
    ...noDeflate,
    // TLS protects the bytes already; a mask of zeros costs nothing.
    generateMask: (mask) => mask.fill(0),
    maxPayload: options.maxMessageBytes ?? maxMessageBytes,
    createConnection: () => tls,
  });
  const { control, keys } = await opened(webSocket, peer, timeoutMs, () => ({
    control: new ControlChannel<In, Out>(webSocket, tls, { ...options, peer }),
    keys: sessionKeys(tls),
  }));
  const used = new Set<number>();
  return {
    control,
    peer,
    pageChannel: async (channel, channelTimeoutMs = defaultTimeoutMs) => {
      assertChannelNumber(channel);
      if (used.has(channel)) throw new RangeError(`page channel ${channel} was opened before`);
      used.add(channel);
      return openPageChannel(remote, keys, channel, channelTimeoutMs);
    },
  };
}

/** A TLS connection whose other end has proven to hold the secret. */
function authenticate(address: Address, secret: Secret, timeoutMs: number): Promise<TLSSocket> {
  const peer = formatAddress(address);
  return new Promise((resolve, reject) => {
    const tls = connectTls({
      ...tlsOptions,
      ...address,
      servername: '',
      // Only the secret counts. Nobody's certificate does, whoever signed it: with a pre-shared key the other side
      // shows none, and this is not called.
      ca: [],
      checkServerIdentity: () => new Error('a certificate was shown in place of the secret'),
      pskCallback: () => ({ psk: secret.key, identity: secret.identity }),
    });
    const timer = setTimeout(() => tls.destroy(timedOut()), timeoutMs);
    const fail = (error: Error) => {
      clearTimeout(timer);
      tls.destroy();
      reject(explain(error, peer));
    };
    const closed = () => fail(Object.assign(new Error('closed'), { code: 'ECONNRESET' }));
    // Stays for good: an error without a listener would end the process.
    tls.on('error', fail);
    tls.once('close', closed);
    tls.once('secureConnect', () => {
      clearTimeout(timer);
      if (!tls.isSessionReused()) return fail(new Error('the secret was not used'));
      tls.off('close', closed);
      resolve(tls);
    });
  });
}

function openPageChannel(
  address: Address,
  keys: SessionKeys,
  channel: number,
  timeoutMs: number,
): Promise<PageChannel> {
  const peer = formatAddress(address);
  const socket: Socket = connectTcp({ ...address, noDelay: true });
  const url = `ws://${peer}/pages?session=${keys.id}&channel=${channel}`;
  const webSocket = new WebSocket(url, {
    ...noDeflate,
    headers: { authorization: `Bearer ${keys.token(channel).toString('hex')}` },
    createConnection: () => socket,
  });
  return opened(webSocket, peer, timeoutMs, () => ({
    descriptor: takeDescriptor(socket, peer),
    key: keys.key(channel),
    channel,
  }));
}

/**
 * What `take` makes of the WebSocket when it opens. `take` runs before the event loop turns, so that nothing that
 * follows the handshake is missed.
 */
function opened<T>(webSocket: WebSocket, peer: string, timeoutMs: number, take: () => T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const result = new Promise<T>((resolve, reject) => {
    // Not ws's handshakeTimeout, which does not watch sockets that were made for it.
    timer = setTimeout(() => {
      reject(explain(timedOut(), peer));
      webSocket.terminate();
    }, timeoutMs);
    webSocket.on('error', (error) => reject(explain(error, peer)));
    webSocket.once('close', () => reject(explain(new Error('closed'), peer)));
    webSocket.once('unexpected-response', (request, response) => {
      const theirs = response.headers[protocolHeader];
      const what =
        response.statusCode === 426 && theirs !== undefined
          ? new MigrationError(
              'protocol-mismatch',
              `this side speaks ${protocolName}, ${peer} speaks ${printable(String(theirs))}`,
            )
          : new MigrationError(
              'authentication-failed',
              `${peer} refused the channel (${response.statusCode})`,
            );
      reject(what);
      request.destroy();
      response.socket.destroy();
    });
    webSocket.once('open', () => {
      try {
        resolve(take());
      } catch (error) {
        reject(asMigrationError(error));
      }
    });
  });
  return result.finally(() => clearTimeout(timer));
}

function timedOut(): Error {
  return Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' });
}

/** A failed connection in the terms of the person who asked for it. */
function explain(error: NodeJS.ErrnoException, peer: string): MigrationError {
  const code = error.code ?? '';
  const [is, what] = explanation(code, error.message);
  return new MigrationError(is, `${peer} ${what}`, { object: peer }, { cause: error });
}

function explanation(code: string, message: string): [ErrorCode, string] {
  switch (code) {
    case 'ECONNREFUSED':
      return ['target-unreachable', 'refuses connections (ECONNREFUSED)'];
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return ['target-unreachable', `has no address (${code})`];
    case 'ETIMEDOUT':
      return ['target-unreachable', 'does not answer (ETIMEDOUT)'];
    case 'ECONNRESET':
    case 'EPIPE':
      return ['target-unreachable', `closed the connection before the handshake was over (${code})`];
    // What TLS says where the pre-shared keys differ, or the other side knows none.
    case 'ERR_SSL_SSLV3_ALERT_ILLEGAL_PARAMETER':
    case 'ERR_SSL_TLSV1_ALERT_DECRYPT_ERROR':
    case 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE':
      return ['authentication-failed', `does not hold the same secret (${code})`];
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
      return ['target-unreachable', `is no godwit agent: it does not speak TLS (${code})`];
    default:
      break;
  }
  if (/^E[A-Z]+$/.test(code)) return ['target-unreachable', `cannot be reached (${code})`];
  if (message === 'closed')
    return ['target-unreachable', 'closed the connection before the handshake was over'];
  return ['authentication-failed', `did not authenticate (${printable(code || message)})`];
}
