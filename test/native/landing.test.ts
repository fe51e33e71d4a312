/**
 * Landing through a userfaultfd. The descriptor belongs to the memory of the process that made it, so the target
 * (test/programs/page-owner.c with arguments) starts this file again as its child, which inherits it.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { native } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';
import { RunKind } from '../../shared/page-frames.js';
import { scaled } from '../support/time.js';
import { bodyOf, channel, descriptorOf, frameOf, key, messageOf, type Run, socketPair } from './channel.js';
import { PageOwnerProgram, page } from './page-owner.js';

const target = process.env.LANDING_TARGET;

async function inTarget(text: string): Promise<void> {
  const [pid, userfault] = text.split(' ').map(Number) as [number, number];
  const [address, bytes] = text
    .split(' ')
    .slice(2)
    .map((word) => BigInt(`0x${word}`)) as [bigint, bigint];
  // Missing pages are registered in the first half only.
  const half = address + bytes / 2n;
  const memory = openSync(`/proc/${pid}/mem`, 'r+');
  const [client, server] = await socketPair();
  const receiver = new native.PageReceiver({
    socket: descriptorOf(server),
    key,
    channel,
    onCompressed: () => {},
    onEnd: () => {},
  });
  receiver.setAllowed(BigUint64Array.of(address, address + bytes));
  let frames = 0;
  const image = Buffer.alloc(Number(bytes));
  const land = async (runs: Run[]) => {
    const pages = runs.filter((run) => run.kind === RunKind.data).reduce((sum, run) => sum + run.pages, 0);
    const content = randomBytes(pages * 4096);
    client.write(messageOf(frameOf(bodyOf(runs, content), { runs: runs.length, sequence: BigInt(frames) })));
    let used = 0;
    for (const { address: at, pages, kind } of runs) {
      const offset = Number(at - address);
      if (kind === RunKind.zero) image.fill(0, offset, offset + pages * 4096);
      else used += content.copy(image, offset, used, used + pages * 4096);
    }
    frames += 1;
    // Back-pressure: nothing lands before there is a target.
    if (frames === 1) {
      assert.is(receiver.progress.frames, 0);
      receiver.setTarget(memory, userfault);
      closeSync(userfault);
    }
    await receiver.waitFor(frames);
  };
  const data = (at: bigint, pages: number): Run => ({ address: at, pages, kind: RunKind.data });
  const zero = (at: bigint, pages: number): Run => ({ address: at, pages, kind: RunKind.zero });

  await land([
    data(address + page, 3),
    zero(address + 8n * page, 4),
    data(half + page, 2),
    zero(half + 9n * page, 2),
  ]);
  // over what is there, over what is not, and both mixed; zero over content and the other way round
  await land([data(address, 20), zero(address + 30n * page, 2), data(half, 20)]);
  await land([zero(address + 2n * page, 40), zero(half + 2n * page, 40), data(address + 5n * page, 1)]);
  // across the border of what is registered, from both kinds of page
  await land([data(half - 3n * page, 6), zero(half - 30n * page, 29)]);
  await land([zero(half - 40n * page, 50), data(address + 60n * page, 50)]);
  // pages that came there by another way than the receiver's: they only seem missing
  native.writeMemory(pid, address + 40n * page, Buffer.alloc(4096, 1));
  const hole = address + 500n * page;
  native.writeMemory(pid, half + 700n * page, Buffer.alloc(4096, 1));
  await land([data(address + 38n * page, 4), data(half + 699n * page, 3)]);
  // a write into a hole that is registered must fail at once, or this would wait for ever
  assert.throws(
    () => native.writeMemory(pid, hole, Buffer.alloc(1)),
    (error: unknown) => isKernelError(error, 'EFAULT'),
  );
  receiver.closeUserfault();
  await land([data(hole, 1)]);
  await land([data(address + 3n * page, 100), zero(address + 1000n * page, 3)]);
  const final = native.readMemory(pid, address, 200 * 4096);
  assert.ok(final.equals(image.subarray(0, final.length)), 'first half');
  const border = Number(half - address) - 60 * 4096;
  const around = native.readMemory(pid, half, 100 * 4096);
  assert.ok(around.equals(image.subarray(border + 60 * 4096, border + 160 * 4096)), 'second half');
  const before = native.readMemory(pid, half - 40n * page, 40 * 4096);
  assert.ok(before.equals(image.subarray(border + 20 * 4096, border + 60 * 4096)), 'border');
  receiver.close();
  client.destroy();
  server.destroy();
  closeSync(memory);
}

if (target !== undefined) {
  await inTarget(target);
} else {
  test('pages land through the userfaultfd and the memory file, in any mixture', () => {
    const program = new PageOwnerProgram();
    try {
      const run = spawnSync(program.path, [process.execPath, fileURLToPath(import.meta.url)], {
        encoding: 'utf8',
        timeout: scaled(30_000),
        killSignal: 'SIGKILL',
      });
      assert.is(run.status, 0, run.stderr);
    } finally {
      program.remove();
    }
  });
  test.run();
}
