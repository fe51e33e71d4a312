/**
 * What the two sides of the handshake have to agree on. connection.ts is the calling side, listener.ts the called one.
 *
 * One TCP port serves both kinds of connection, told apart by their first byte:
 *   0x16  TLS 1.3 with the secret as external pre-shared key; in it a WebSocket on /control, subprotocol godwit.1
 *   'G'   an HTTP upgrade of a page channel: GET /pages?session=HEX&channel=N, Authorization: Bearer HEX
 * A page channel carries frames that are encrypted for themselves (page-frames.ts). Its AES key, the token that opens
 * it and the id of the session are all exported from the control channel's TLS session (RFC 8446, 7.5), so nothing of
 * them travels before use and nobody else can know them. Each channel has a token of its own, good for one use: who
 * overhears one cannot open another.
 */
import { hkdfSync } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Secret } from '../secret.js';
import type { ControlChannel } from './channel.js';
import type { WireValue } from './codec.js';

/** The WebSocket subprotocol: the version of everything that is said on a control channel. */
export const protocolName = 'godwit.1';
/** In a refusal for another version, the header that names the one spoken here. */
export const protocolHeader = 'godwit-protocol';
export const controlPath = '/control';
/** Page channels are numbered from 0; a session has no more than these. */
export const maxPageChannels = 64;
export const defaultTimeoutMs = 10_000;

/** An upgraded connection that Node no longer knows: whoever takes it closes it. */
export interface PageChannel {
  /** A TCP socket, after the WebSocket handshake and before the first frame. It is non-blocking and close-on-exec. */
  readonly descriptor: number;
  /** 16 bytes for AES-128-GCM, the same on both sides. */
  readonly key: Uint8Array;
  readonly channel: number;
}

/** Two agents that have authenticated each other. It lives as long as its control channel. */
export interface AgentSession<In, Out extends WireValue> {
  readonly control: ControlChannel<In, Out>;
  /** Address and port of the other side. */
  readonly peer: string;
  /**
   * Page channel number `channel`: the calling side opens it, the called side waits for it. Both may ask in any
   * order; each number serves once. Rejects with 'link-lost' (the session ended, or nothing within timeoutMs),
   * 'target-unreachable' or 'authentication-failed'.
   */
  pageChannel(channel: number, timeoutMs?: number): Promise<PageChannel>;
}

/** TLS as both sides set it up: nothing to negotiate, and no certificate anywhere. */
export const tlsOptions = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'PSK:TLS_AES_128_GCM_SHA256',
} as const;

/** The identity is a constant, so a comparison in constant time would protect nothing. */
export function keyFor(secret: Secret, identity: string): Buffer | null {
  return identity === secret.identity ? secret.key : null;
}

export interface SessionKeys {
  /** Names the session in page channel requests; not secret. */
  readonly id: string;
  /** 32 bytes that open one page channel. */
  token(channel: number): Buffer;
  /** 16 bytes that encrypt one page channel. */
  key(channel: number): Buffer;
}

/** The keys of a session, equal on both sides of one TLS session and of no other. */
export function sessionKeys(tls: TLSSocket): SessionKeys {
  const context = Buffer.from(protocolName);
  const id = tls.exportKeyingMaterial(16, 'EXPORTER-godwit-session', context).toString('hex');
  const pages = tls.exportKeyingMaterial(32, 'EXPORTER-godwit-pages', context);
  const derive = (purpose: string, channel: number, bytes: number) =>
    Buffer.from(hkdfSync('sha256', pages, '', `godwit ${purpose} ${channel}`, bytes));
  return {
    id,
    token: (channel) => derive('page token', channel, 32),
    key: (channel) => derive('page key', channel, 16),
  };
}

export function assertChannelNumber(channel: number): void {
  if (!isChannelNumber(channel)) {
    throw new RangeError(`page channels are numbered 0 to ${maxPageChannels - 1}, not ${channel}`);
  }
}

export function isChannelNumber(channel: number): boolean {
  return Number.isInteger(channel) && channel >= 0 && channel < maxPageChannels;
}
