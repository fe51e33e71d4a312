/**
 * Threads that were stopped inside a vdso which the target does not have. Most stops of a loop that reads the time are:
 * letting such a thread run on and stopping it again may take any number of tries, and to single-step it or to set a
 * breakpoint where it returns would end a program whose agent dies. So it finishes the function on the target, under
 * control, with what belongs to it: this kernel's code, the data that code works with, and the time of this host as it
 * is now. It returns there what it would have returned here.
 */
import { readFileSync } from 'node:fs';
import { native } from '../native/index.js';
import { MigrationError } from '../shared/errors.js';
import { get, type Registers, userCodeSegment } from '../shared/injection/x86-64/registers.js';
import { isSpecial, type Mapping, parseMaps } from '../shared/proc/mappings.js';
import type { UnfinishedVdso } from '../shared/protocol/messages.js';
import { type AddressRange, bytesOf, pageBytes } from '../shared/ranges.js';
import { kernelVdso } from '../shared/vdso.js';

/** Copies until two are the same: the kernel rewrites its data some hundred times a second. */
const mostCopies = 100;

/**
 * What the target needs to finish what was begun here; null where no thread is inside. `known` is the image that the
 * program's pointers lead to. Throws MigrationError 'stop-timeout'.
 */
export function unfinishedVdso(
  pid: number,
  threads: readonly { registers: Registers }[],
  mappings: readonly Mapping[],
  known: AddressRange,
): UnfinishedVdso | null {
  const vdso = kernelVdso(mappings);
  const inside = threads.some(({ registers }) => {
    const at = get(registers, 'rip');
    return (vdso && isInside(at, vdso)) || isInside(at, known);
  });
  if (!vdso || !inside) return null;
  const memory = consistentData(mappings);
  // Where the program's pointers lead to it, the target has the code.
  if (vdso.start !== known.start) {
    memory.push({ start: vdso.start, bytes: native.readMemory(pid, vdso.start, Number(bytesOf(vdso))) });
  }
  return { memory, timeStamp: native.timeStampCounter()[0] };
}

/** The kernel's data as this process sees it, at the addresses it has in the program. */
function consistentData(mappings: readonly Mapping[]): UnfinishedVdso['memory'] {
  const own = parseMaps(readFileSync('/proc/self/maps', 'utf8')).filter(isData);
  const theirs = mappings.filter(isData);
  const copy = () =>
    own.flatMap(({ start, end }, i) =>
      native.readOwnPages(start, Number((end - start) / pageBytes)).flatMap((bytes, page) => {
        return bytes ? [{ start: theirs[i]!.start + BigInt(page) * pageBytes, bytes }] : [];
      }),
    );
  const shape = (ranges: readonly Mapping[]) =>
    ranges.map((range) => `${range.path}+${bytesOf(range)}`).join();
  if (shape(own) !== shape(theirs)) throw notReadable();
  let last = copy();
  for (let copies = 1; copies < mostCopies; copies += 1) {
    const next = copy();
    if (next.every(({ bytes }, i) => last[i] && Buffer.compare(bytes, last[i].bytes) === 0)) return next;
    last = next;
  }
  throw notReadable();
}

function isData(mapping: Mapping): boolean {
  return isSpecial(mapping) && mapping.path.startsWith('[vvar');
}

function notReadable(): MigrationError {
  const what = "a thread is inside the vdso, and the kernel's data for it cannot be read";
  return new MigrationError('stop-timeout', what, { object: 'vdso' });
}

function isInside(address: bigint, { start, end }: AddressRange): boolean {
  return start <= address && address < end;
}

/** The part of struct sigcontext that is looked at: rsp, rip, eflags, and then cs, gs, fs, ss in one word. */
const segmentsOffset = 3 * 8;
const userSegments = Buffer.alloc(8);
userSegments.writeBigUInt64LE(userCodeSegment | (0x2bn << 48n));
/** How much of a stack is searched: a handler that uses more than this is not known. */
const mostStackBytes = 1n << 20n;
/** Handlers that have interrupted each other, and what only looks so. */
const mostStacks = 16;

/**
 * True where a signal handler runs that has interrupted code which is `left` here: it will return there. Its frame lies above the
 * stack pointer, or, if the handler runs on the alternate stack, above the one that its frame there tells of. What looks
 * like a frame and is none makes for another try, nothing worse.
 */
export function handlerReturnsInto(
  left: readonly AddressRange[],
  stackPointer: bigint,
  mappings: readonly Mapping[],
  read: (address: bigint, bytes: number) => Buffer,
): boolean {
  const seen = new Set<bigint>();
  const pointers = [stackPointer];
  for (let pointer = pointers.pop(); pointer !== undefined; pointer = pointers.pop()) {
    const from = pointer - (pointer % 8n);
    const stack = mappings.find(({ start, end }) => start <= from && from < end);
    if (!stack?.read || seen.has(from) || seen.size >= mostStacks) continue;
    seen.add(from);
    const end = stack.end - from < mostStackBytes ? stack.end : from + mostStackBytes;
    const bytes = read(from, Number(end - from));
    for (let at = bytes.indexOf(userSegments); at >= 0; at = bytes.indexOf(userSegments, at + 1)) {
      if (at % 8 !== 0 || at < segmentsOffset) continue;
      const returnsTo = bytes.readBigUInt64LE(at - segmentsOffset + 8);
      if (left.some((range) => isInside(returnsTo, range))) return true;
      pointers.push(bytes.readBigUInt64LE(at - segmentsOffset));
    }
  }
  return false;
}
