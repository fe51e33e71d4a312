import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import { sharesNamespace } from '../namespaces.js';
import type { Capture } from './kind.js';

// struct new_utsname: six fields of 65 bytes; the node name is the second, the domain name the last.
const fieldBytes = 65;

export const captureHostname: Capture<'hostname'> = {
  capture({ frozen }, questions) {
    if (sharesNamespace(frozen.process.pid, 'uts')) return () => null;
    const room = questions.room(fieldBytes * 6);
    const call = questions.add('uname', syscalls.uname, room);
    return () => {
      questions.batch.result(call);
      const names = questions.answer(room, fieldBytes * 6);
      return { hostname: field(names, 1), domainname: field(names, 5) };
    };
  },
};

function field(names: Buffer, index: number): string {
  const bytes = names.subarray(index * fieldBytes, (index + 1) * fieldBytes);
  return bytes.toString('utf8', 0, bytes.indexOf(0));
}
