/** Where an agent listens: text as people write it, and its two parts. */
import { isIPv6 } from 'node:net';
import { MigrationError } from '../errors.js';

export interface Address {
  /** A name, an IPv4 address, or an IPv6 address without brackets; empty for "all" (listening) or "here" (calling). */
  readonly host: string;
  readonly port: number;
}

/** 'host:port', '[::1]:port' or ':port'. Port 0, any free one, makes sense for listening only. Throws 'usage'. */
export function parseAddress(text: string): Address {
  const parts = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  if (!parts) throw unusable(text, 'write it as host:port, [IPv6]:port or :port');
  const [, bracketed, plain = '', digits = ''] = parts;
  const port = Number(digits);
  if (port > 65535) throw unusable(text, 'ports end at 65535');
  if (bracketed !== undefined) {
    if (!isIPv6(bracketed)) throw unusable(text, 'what is in brackets is no IPv6 address');
    return { host: bracketed, port };
  }
  if (!/^[A-Za-z0-9._-]*$/.test(plain) || plain.length > 253) throw unusable(text, 'the host is no name');
  return { host: plain, port };
}

/** The text parseAddress reads. */
export function formatAddress({ host, port }: Address): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

function unusable(text: string, why: string): MigrationError {
  return new MigrationError('usage', `${JSON.stringify(text)} is no address: ${why}`);
}
