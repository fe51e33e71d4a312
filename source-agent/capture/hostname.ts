import { argumentBase } from '../../native/index.js';
import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { sharesNamespace } from '../namespaces.js';
import type { Capture } from './kind.js';

// struct new_utsname: six fields of 65 bytes; the node name is the second, the domain name the last.
const fieldBytes = 65;

export const captureHostname: Capture<'hostname'> = {
  capture({ frozen }) {
    if (sharesNamespace(frozen.process.pid, 'uts')) return null;
    const batch = new CallBatch();
    batch.add('uname', syscalls.uname, argumentBase);
    const answer = frozen.runIn(frozen.threads[0]!, batch, new Uint8Array(fieldBytes * 6));
    batch.check();
    return { hostname: field(answer, 1), domainname: field(answer, 5) };
  },
};

function field(names: Uint8Array, index: number): string {
  const bytes = Buffer.from(names.buffer, names.byteOffset + index * fieldBytes, fieldBytes);
  return bytes.toString('utf8', 0, bytes.indexOf(0));
}
