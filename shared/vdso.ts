/**
 * The vdso as one program knows it: the kernel's code that its C library, its runtime and its debugger have found through
 * the auxiliary vector (AT_SYSINFO_EHDR; vdso(7)) and keep pointers into. In a program that came from another kernel that
 * is an image which was carried along, and the vdso of its present kernel lies elsewhere.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { native } from '../native/index.js';
import { AuxiliaryType, parseAuxv } from './proc/auxv.js';
import { type Mapping, parseMaps } from './proc/mappings.js';
import type { ProgramVdso } from './protocol/messages.js';
import type { AddressRange } from './ranges.js';
import { isVdsoImage } from './vdso-image.js';

/** Real ones have two to four pages. */
const mostBytes = 1n << 16n;

/** Of a process as its maps and auxv tell; null where the kernel's vdso is not mapped any more. */
export function programVdso(pid: number, mappings: readonly Mapping[], auxv: Buffer): ProgramVdso | null {
  const own = kernelVdso(mappings);
  if (!own) return null;
  const ownImage = bytesOf(pid, own);
  const kernel = digestOf(ownImage);
  // Of a 32-bit program, whose auxiliary vector is another one too: it is refused for that, in better words.
  if (!isVdsoImage(ownImage)) return { start: own.start, image: ownImage, kernel };
  const known = parseAuxv(auxv).find(([type]) => type === AuxiliaryType.vdso)?.[1] ?? 0n;
  const carried = mappings.find(
    ({ start, end, read, path }) => start <= known && known < end && read && path === '',
  );
  const image = carried && bytesOf(pid, { start: known, end: carried.end });
  return image && isVdsoImage(image)
    ? { start: known, image, kernel }
    : { start: own.start, image: ownImage, kernel };
}

/** The vdso that the kernel has mapped into a process. */
export function kernelVdso<M extends Pick<Mapping, 'path'>>(mappings: readonly M[]): M | undefined {
  return mappings.find(({ path }) => path === '[vdso]');
}

/** The vdso that the kernel maps into this very process: the same in all that it starts. */
export function ownVdso(): { image: Buffer; digest: string } {
  const own = kernelVdso(parseMaps(readFileSync('/proc/self/maps', 'utf8')));
  const image = own ? bytesOf(process.pid, own) : Buffer.alloc(0);
  return { image, digest: digestOf(image) };
}

function bytesOf(pid: number, { start, end }: AddressRange): Buffer {
  const bytes = end - start < mostBytes ? end - start : mostBytes;
  return native.readMemory(pid, start, Number(bytes));
}

/** SHA-256. Two kernels of one release may differ in it: it is patched to the CPU when a kernel starts. */
function digestOf(image: Uint8Array): string {
  return createHash('sha256').update(image).digest('hex');
}
