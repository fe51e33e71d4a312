/** A page channel between two ends of one process, and frames made by hand from shared/page-frames.ts. */
import { createCipheriv } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { frameHeaderBytes, frameTagBytes, frameVersion, runBytes } from '../../shared/page-frames.js';

export const key = Buffer.from('000102030405060708090a0b0c0d0e0f', 'hex');
export const channel = 7;

export function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

/** Two ends of one TCP connection on loopback; nothing reads from them. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ pauseOnConnect: true });
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const client = connect((server.address() as { port: number }).port, '127.0.0.1');
  await new Promise((resolve) => client.once('connect', resolve));
  const other = await accepted;
  server.close();
  for (const socket of [client, other]) socket.on('error', () => {});
  return [client, other];
}

export interface Run {
  address: bigint;
  pages: number;
  kind: number;
}

export interface FrameFields {
  version: number;
  kind: number;
  reserved: number;
  reserved2: number;
  runs: number;
  bodyBytes: number;
  sequence: bigint;
}

/** The plain body: run table, then content. */
export function bodyOf(runs: Run[], content: Uint8Array): Buffer {
  const table = Buffer.alloc(runs.length * runBytes);
  runs.forEach((run, i) => {
    table.writeBigUInt64LE(run.address, i * runBytes);
    table.writeUInt32LE(run.pages, i * runBytes + 8);
    table.writeUInt32LE(run.kind, i * runBytes + 12);
  });
  return Buffer.concat([table, content]);
}

/** A sealed frame without the WebSocket's header. `fields` replaces what a right one would hold. */
export function frameOf(body: Uint8Array, fields: Partial<FrameFields>): Buffer {
  const header = Buffer.alloc(frameHeaderBytes);
  header.writeUInt8(fields.version ?? frameVersion, 0);
  header.writeUInt8(fields.kind ?? 1, 1);
  header.writeUInt16LE(fields.reserved ?? 0, 2);
  header.writeUInt32LE(fields.runs ?? 1, 4);
  header.writeUInt32LE(fields.bodyBytes ?? body.length, 8);
  header.writeUInt32LE(fields.reserved2 ?? 0, 12);
  header.writeBigUInt64LE(fields.sequence ?? 0n, 16);
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32LE(channel, 0);
  nonce.writeBigUInt64LE(fields.sequence ?? 0n, 4);
  const cipher = createCipheriv('aes-128-gcm', key, nonce, { authTagLength: frameTagBytes });
  cipher.setAAD(header);
  return Buffer.concat([header, cipher.update(body), cipher.final(), cipher.getAuthTag()]);
}

/** A client's WebSocket message. */
export function messageOf(payload: Uint8Array, opcode = 0x82, mask = Buffer.alloc(4)): Buffer {
  const start =
    payload.length < 126
      ? Buffer.from([opcode, 0x80 | payload.length])
      : payload.length <= 0xffff
        ? Buffer.from([opcode, 0x80 | 126, payload.length >> 8, payload.length & 0xff])
        : Buffer.from([opcode, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 0]);
  if (payload.length > 0xffff) start.writeBigUInt64BE(BigInt(payload.length), 2);
  const masked = Buffer.from(payload);
  for (let i = 0; i < masked.length; i++) masked[i]! ^= mask[i % 4]!;
  return Buffer.concat([start, mask, masked]);
}
