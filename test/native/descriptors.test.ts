import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readlinkSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';

const test = suite('descriptors');

const F_GETFD = 1;
const F_GETFL = 3;
const F_SETPIPE_SZ = 1031;
const F_GETPIPE_SZ = 1032;
const FD_CLOEXEC = 1;
const POLLIN = 1;
const POLLOUT = 4;
const POLLHUP = 16;
const KCMP_FILE = 0;

const folder = mkdtempSync(join(tmpdir(), 'godwit-descriptors-'));
const opened: number[] = [];

function keep(...fds: number[]): void {
  opened.push(...fds);
}

/** Both ends of a pipe: a FIFO opened by name, as Node has no pipe(2). */
let fifos = 0;
function makePipe(): { reader: number; writer: number } {
  fifos += 1;
  const path = join(folder, `fifo-${fifos}`);
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  keep(reader, writer);
  return { reader, writer };
}

function makeFile(name: string): number {
  const fd = openSync(join(folder, name), 'w+');
  keep(fd);
  return fd;
}

function same(a: number, b: number): boolean {
  return native.kcmp(process.pid, process.pid, KCMP_FILE, a, b) === 0;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (isKernelError(error)) return error.code;
    throw error;
  }
  return 'no error';
}

function openDescriptors(): number {
  return native.listDescriptors(process.pid).length;
}

test.after.each(() => {
  for (const fd of opened.splice(0)) closeSync(fd);
});
test.after(() => rmSync(folder, { recursive: true }));

test('duplicate shares the open file description and closes on exec', () => {
  const fd = makeFile('duplicate');
  const copy = native.duplicate(fd);
  keep(copy);
  assert.ok(copy > 2 && copy !== fd);
  assert.ok(same(fd, copy));
  assert.is(native.fcntl(copy, F_GETFD, 0), FD_CLOEXEC);
  assert.is(
    codeOf(() => native.duplicate(1_000_000)),
    'EBADF',
  );
});

test('kcmp tells different files apart', () => {
  assert.not.ok(same(makeFile('one'), makeFile('two')));
});

test('pidfd_getfd copies a descriptor that shares its offset', () => {
  const fd = makeFile('getfd');
  const pidfd = native.pidfdOpen(process.pid);
  const copy = native.pidfdGetfd(pidfd, fd);
  keep(pidfd, copy);
  native.seek(fd, 4321n, 0);
  assert.is(native.seek(copy, 0n, 1), 4321n);
  assert.is(
    codeOf(() => native.pidfdGetfd(pidfd, 1_000_000)),
    'EBADF',
  );
  assert.is(
    codeOf(() => native.pidfdOpen(2 ** 22 + 1)),
    'ESRCH',
  );
});

test('seek takes offsets beyond 2^53 and refuses what the file refuses', () => {
  const fd = openSync('/proc/self/mem', 'r');
  keep(fd);
  const far = 0x7fff_ffff_f001n;
  assert.is(native.seek(fd, far, 0), far);
  const file = makeFile('seek');
  ftruncateSync(file, 100);
  assert.is(native.seek(file, -1n, 2), 99n);
  assert.is(
    codeOf(() => native.seek(file, -1n, 0)),
    'EINVAL',
  );
  assert.is(
    codeOf(() => native.seek(file, 2n ** 63n, 0)),
    'EOVERFLOW',
  );
});

test('fcntl reads status flags', () => {
  const { reader, writer } = makePipe();
  assert.ok(native.fcntl(reader, F_GETFL, 0) & constants.O_NONBLOCK);
  assert.is(native.fcntl(writer, F_GETFL, 0) & 3, constants.O_WRONLY);
  assert.is(
    codeOf(() => native.fcntl(writer, 9999, 0)),
    'EINVAL',
  );
});

test('pollNow tells readiness and the end of the other side', () => {
  const { reader, writer } = makePipe();
  assert.is(native.pollNow(reader, POLLIN), 0);
  assert.is(native.pollNow(writer, POLLOUT), POLLOUT);
  writeSync(writer, 'x');
  assert.is(native.pollNow(reader, POLLIN), POLLIN);
  opened.splice(opened.indexOf(writer), 1);
  closeSync(writer);
  assert.is(native.pollNow(reader, POLLIN), POLLIN | POLLHUP);
});

test('descriptors pass through a socket, close-on-exec', () => {
  const [left, right] = native.socketPair();
  keep(left, right);
  const files = Array.from({ length: 16 }, (_, i) => makeFile(`pass-${i}`));
  native.sendDescriptors(left, files);
  const received = native.receiveDescriptors(right, 1000);
  keep(...received);
  assert.is(received.length, 16);
  received.forEach((fd, i) => {
    assert.ok(same(fd, files[i]!));
    assert.is(native.fcntl(fd, F_GETFD, 0), FD_CLOEXEC);
  });
});

test('messages keep their borders, an empty one too', () => {
  const [left, right] = native.socketPair();
  keep(left, right);
  const file = makeFile('borders');
  native.sendDescriptors(left, [file]);
  native.sendDescriptors(left, []);
  native.sendDescriptors(left, [file, file]);
  for (const count of [1, 0, 2]) {
    const received = native.receiveDescriptors(right, 1000);
    keep(...received);
    assert.is(received.length, count);
  }
});

test('receiving ends with ETIMEDOUT, and with ECONNRESET at the end', () => {
  const [left, right] = native.socketPair();
  keep(right);
  assert.is(
    codeOf(() => native.receiveDescriptors(right, 5)),
    'ETIMEDOUT',
  );
  closeSync(left);
  assert.is(
    codeOf(() => native.receiveDescriptors(right, 1000)),
    'ECONNRESET',
  );
});

test('more than 16 descriptors are refused by both sides, and none leaks', () => {
  const [left, right] = native.socketPair();
  keep(left, right);
  const file = makeFile('many');
  assert.is(
    codeOf(() => native.sendDescriptors(left, new Array<number>(17).fill(file))),
    'EINVAL',
  );
  const before = openDescriptors();
  const send = [
    'import array, socket, sys',
    's = socket.socket(fileno=3)',
    's.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 17))])',
  ].join('\n');
  execFileSync('python3', ['-c', send], { stdio: ['ignore', 'inherit', 'inherit', left] });
  assert.is(
    codeOf(() => native.receiveDescriptors(right, 1000)),
    'EMSGSIZE',
  );
  assert.is(openDescriptors(), before);
});

test('peekPipe leaves the content in the pipe', () => {
  const { reader, writer } = makePipe();
  assert.is(native.peekPipe(reader).length, 0);
  writeSync(writer, 'all that is in the pipe');
  for (let i = 0; i < 2; i += 1) assert.is(native.peekPipe(reader).toString(), 'all that is in the pipe');
  const buffer = Buffer.alloc(100);
  assert.is(readSync(reader, buffer), 23);
  assert.is(native.peekPipe(reader).length, 0);
  opened.splice(opened.indexOf(writer), 1);
  closeSync(writer);
  assert.is(native.peekPipe(reader).length, 0);
});

test('peekPipe reads a full pipe of a megabyte', () => {
  const { reader, writer } = makePipe();
  assert.is(native.fcntl(writer, F_SETPIPE_SZ, 1 << 20), 1 << 20);
  const content = Buffer.alloc(1 << 20);
  for (let i = 0; i < content.length; i += 4) content.writeUInt32LE((i * 2654435761) % 2 ** 32, i);
  assert.is(writeSync(writer, content), content.length);
  const before = openDescriptors();
  assert.ok(native.peekPipe(reader).equals(content));
  assert.is(openDescriptors(), before);
});

test('peekPipe reads a pipe whose slots hold little each', () => {
  const { reader, writer } = makePipe();
  const slots = native.fcntl(writer, F_GETPIPE_SZ, 0) / 4096;
  // A write is merged into the last slot where it fits: pieces of more than half a page never do.
  const pieces = Array.from({ length: slots }, (_, i) => Buffer.alloc(2100 + i, i));
  for (const piece of pieces) writeSync(writer, piece);
  assert.throws(() => writeSync(writer, Buffer.alloc(2100)), 'EAGAIN');
  assert.ok(native.peekPipe(reader).equals(Buffer.concat(pieces)));
  const rest = Buffer.alloc(1 << 20);
  assert.is(readSync(reader, rest), Buffer.concat(pieces).length);
});

test('peekPipe refuses what is no pipe', () => {
  assert.is(
    codeOf(() => native.peekPipe(makeFile('no-pipe'))),
    'EBADF',
  );
});

test('socketPair makes connected unix sockets', () => {
  const [left, right] = native.socketPair();
  keep(left, right);
  assert.ok(fstatSync(left).isSocket());
  assert.match(readlinkSync(`/proc/self/fd/${right}`), /^socket:/);
  assert.is(native.fcntl(left, F_GETFD, 0), FD_CLOEXEC);
});

test.run();
