/**
 * Takes a TCP connection away from Node, so that native code has it alone.
 *
 * Node has no call for it. The descriptor is duplicated and Node's socket destroyed in the same tick: closing one of
 * two descriptors of a connection sends nothing and loses nothing, and neither Node nor ws can read, write or end it
 * afterwards. Both must happen before the event loop turns again after the handshake's last byte: whatever Node reads
 * later would be lost to the taker, hence the checks.
 */
import type { Socket } from 'node:net';
import { native } from '../../native/index.js';
import { MigrationError } from '../errors.js';

/** The new descriptor (close-on-exec, non-blocking), the caller's to close. Throws 'protocol-violation' where bytes came too early. */
export function takeDescriptor(socket: Socket, peer: string): number {
  // The one place that reaches for Node's handle; the number is public only to child processes (stdio).
  const { fd } = (socket as Socket & { _handle: { fd: number } | null })._handle ?? { fd: -1 };
  try {
    if (socket.readableLength > 0) {
      throw new MigrationError('protocol-violation', `${peer} sent bytes before its page channel was open`);
    }
    if (fd < 0 || socket.writableLength > 0) {
      throw new MigrationError('link-lost', `the page channel with ${peer} broke while it was opened`);
    }
    socket.setNoDelay(true);
    return native.duplicate(fd);
  } finally {
    socket.destroy();
  }
}
