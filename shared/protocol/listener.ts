/** The called side of the handshake: see handshake.ts. Until it has authenticated, a connection gets little and not for long. */
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import { MigrationError } from '../errors.js';
import type { Secret } from '../secret.js';
import { type Address, formatAddress } from './address.js';
import { ControlChannel, type ControlChannelOptions } from './channel.js';
import { maxMessageBytes, type WireValue } from './codec.js';
import {
  type AgentSession,
  controlPath,
  defaultTimeoutMs,
  keyFor,
  protocolHeader,
  protocolName,
  sessionKeys,
  tlsOptions,
} from './handshake.js';
import { printable } from './message-channel.js';
import { PageChannels } from './page-channels.js';
import { takeDescriptor } from './raw-socket.js';
import { peerOf, Strangers } from './strangers.js';

export interface ListenOptions<In, Out extends WireValue>
  extends Address,
    Omit<ControlChannelOptions<In>, 'peer'> {
  readonly secret: Secret;
  /** Called in the tick in which a caller has authenticated; its first message has not been read yet. */
  readonly onSession: (session: AgentSession<In, Out>) => void;
  /** One line for each caller that was turned away. */
  readonly log: (line: string) => void;
  /** How long a connection may take to authenticate (10 s), and how many may try at a time (64). */
  readonly authenticationTimeoutMs?: number;
  readonly maxUnauthenticated?: number;
}

export interface AgentListener {
  /** Where it listens in fact, for an address that left it open. */
  readonly address: Address;
  /** Stops listening and ends all sessions. */
  close(): Promise<void>;
}

const tlsHandshakeRecord = 0x16;
const letterG = 0x47;
const maxHeaderSize = 4096;

/** Throws MigrationError 'usage' where the address cannot be listened on. */
export async function listen<In, Out extends WireValue>(
  options: ListenOptions<In, Out>,
): Promise<AgentListener> {
  const { log } = options;
  const timeoutMs = options.authenticationTimeoutMs ?? defaultTimeoutMs;
  const sessions = new Map<string, { control: ControlChannel<In, Out>; channels: PageChannels }>();
  const strangers = new Strangers(options.maxUnauthenticated ?? 64, timeoutMs, log);
  const webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    // A caller may offer several versions; without this, ws would pick its first.
    handleProtocols: () => protocolName,
    maxPayload: options.maxMessageBytes ?? maxMessageBytes,
  });

  // Neither server listens: connections are handed to them by their first byte.
  const secure = createHttpsServer({
    ...tlsOptions,
    maxHeaderSize,
    handshakeTimeout: timeoutMs,
    pskCallback: (_socket, identity) => keyFor(options.secret, identity),
  });
  secure.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    log(`${peerOf(socket)} did not authenticate (${printable(error.code ?? error.message)})`);
  });
  secure.on('upgrade', (request, stream, head) => {
    const socket = stream as TLSSocket;
    const peer = peerOf(socket);
    const offered = request.headers['sec-websocket-protocol'] ?? 'no protocol';
    if (!socket.isSessionReused() || request.url !== controlPath) {
      log(`${peer} asked for something that is not here`);
      return refuse(socket, '404 Not Found');
    }
    if (!offered.split(',').some((name) => name.trim() === protocolName)) {
      log(`${peer} speaks ${printable(offered)}, this side ${protocolName}`);
      return refuse(socket, '426 Upgrade Required', `${protocolHeader}: ${protocolName}\r\n`);
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      strangers.admit(peer);
      const keys = sessionKeys(socket);
      const control = new ControlChannel<In, Out>(webSocket, socket, { ...options, peer });
      const channels = new PageChannels(keys, peer);
      sessions.set(keys.id, { control, channels });
      control.onEnd((error) => {
        sessions.delete(keys.id);
        channels.end(error);
      });
      const pageChannel = (channel: number, waitMs = defaultTimeoutMs) => channels.wait(channel, waitMs);
      options.onSession({ control, peer, pageChannel });
    });
  });

  const plain = createHttpServer({ maxHeaderSize });
  plain.on('upgrade', (request, stream, head) => {
    const socket = stream as Socket;
    const peer = peerOf(socket);
    const { session, channel, token } = pageRequest(request);
    const channels = sessions.get(session)?.channels;
    if (head.length > 0 || !channels?.admit(channel, token)) {
      log(`${peer} asked for a page channel that is not open to it`);
      return refuse(socket, '403 Forbidden');
    }
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => {});
      strangers.admit(peer);
      try {
        channels.arrive(channel, takeDescriptor(socket, peer));
      } catch (error) {
        log(`${peer} has no page channel ${channel}: ${(error as Error).message}`);
      }
    });
  });
  // Anything but an upgrade is not for us, inside TLS or outside.
  for (const server of [secure, plain]) server.on('request', (request) => request.socket.destroy());

  const tcp = createServer({ noDelay: true }, (socket) => {
    // Stays for good: an error without a listener would end the process.
    socket.on('error', () => {});
    if (!strangers.enter(socket)) return;
    socket.once('data', (chunk: Buffer) => {
      const server = chunk[0] === tlsHandshakeRecord ? secure : chunk[0] === letterG ? plain : undefined;
      if (!server) {
        log(`${peerOf(socket)} speaks neither TLS nor HTTP`);
        return socket.destroy();
      }
      socket.pause();
      socket.unshift(chunk);
      server.emit('connection', socket);
      process.nextTick(() => socket.resume());
    });
  });
  const address = await bind(tcp, options);
  // Failing to accept one connection (no descriptors left) must not end the others.
  tcp.on('error', (error) => log(`cannot accept connections: ${error.message}`));
  return {
    address,
    close: async () => {
      const closed = new Promise((resolve) => tcp.close(resolve));
      strangers.dismiss();
      await Promise.all([...sessions.values()].map(({ control }) => control.close()));
      await closed;
    },
  };
}

function bind(server: Server, { host, port }: Address): Promise<Address> {
  return new Promise((resolve, reject) => {
    const where = formatAddress({ host, port });
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new MigrationError('usage', `cannot listen on ${where} (${cause.code})`, {}, { cause }));
    });
    server.listen(host === '' ? { port } : { host, port }, () => {
      const bound = server.address() as AddressInfo;
      resolve({ host: bound.address, port: bound.port });
    });
  });
}

function refuse(socket: Duplex, status: string, header = ''): void {
  socket.on('error', () => {});
  socket.end(`HTTP/1.1 ${status}\r\n${header}Connection: close\r\nContent-Length: 0\r\n\r\n`, () =>
    socket.destroy(),
  );
}

/** What an upgrade for a page channel asks for; parts that are missing or malformed match nothing. */
function pageRequest(request: IncomingMessage): { session: string; channel: number; token: Buffer } {
  const [, session = '', number = ''] =
    /^\/pages\?session=([0-9a-f]{32})&channel=(\d{1,3})$/.exec(request.url ?? '') ?? [];
  const [, token = ''] = /^Bearer ([0-9a-f]{64})$/.exec(request.headers.authorization ?? '') ?? [];
  return { session, channel: number === '' ? -1 : Number(number), token: Buffer.from(token, 'hex') };
}
