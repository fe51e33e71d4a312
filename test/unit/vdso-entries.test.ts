import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { redirect } from '../../shared/injection/x86-64/vdso-entries.js';
import { vdsoImage } from './support/vdso-image.js';

const base = 0x7f0012345000n;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const codes = (program: Record<string, number>, kernel: Record<string, number>) => {
  const { redirections, obstacles } = redirect(vdsoImage(program), vdsoImage(kernel));
  assert.equal(obstacles, []);
  return redirections.map(({ offset, code }) => `${offset}: ${hex(code(base))}`);
};

test('an entry point leads to the function of that name, by a register that calls may spoil', () => {
  assert.equal(codes({ __vdso_time: 0x40 }, { __vdso_time: 0x678 }), ['64: 49bb785634' + '12007f000041ffe3']);
});

test('aliases are one place, and any of their names will do', () => {
  assert.equal(codes({ __vdso_time: 0x40, time: 0x40 }, { time: 0 }), [
    '64: 49bb005034' + '12007f000041ffe3',
  ]);
});

test('what the target lacks becomes the system call', () => {
  assert.equal(
    codes(
      {
        __vdso_clock_gettime: 0x40,
        __vdso_gettimeofday: 0x80,
        __vdso_time: 0xc0,
        __vdso_clock_getres: 0x100,
        __vdso_getcpu: 0x140,
      },
      {},
    ),
    [
      '64: b8e40000000f05c3',
      '128: b8600000000f05c3',
      '192: b8c90000000f05c3',
      '256: b8e50000000f05c3',
      '320: b8350100000f05c3',
    ],
  );
});

test('getrandom becomes the system call even where the target has it', () => {
  assert.equal(codes({ __vdso_getrandom: 0x40 }, { __vdso_getrandom: 0x40 }), [
    '64: 4983f8ff7408b83e0100000f05c348c7c0daffffffc3',
  ]);
});

test('entering an enclave is not supported any more', () => {
  assert.equal(codes({ __vdso_sgx_enter_enclave: 0x40 }, {}), ['64: b8daffffffc3']);
});

test('what the target does not know is an obstacle', () => {
  const { redirections, obstacles } = redirect(
    vdsoImage({ __vdso_new: 0x40, __vdso_time: 0x80 }),
    vdsoImage({}),
  );
  assert.equal(obstacles, ["the target's vdso has no __vdso_new"]);
  assert.is(redirections.length, 1);
});

test('entry points that lie too close are an obstacle', () => {
  const close = (bytes: number) =>
    redirect(vdsoImage({ __vdso_time: 0x40, __vdso_getcpu: 0x40 + bytes }), vdsoImage({ __vdso_time: 0 }))
      .obstacles;
  assert.equal(close(13), []);
  assert.equal(close(12), ["__vdso_time of the program's vdso is only 12 bytes long"]);
  const last = redirect(vdsoImage({ __vdso_time: 4090 }), vdsoImage({ __vdso_time: 0 })).obstacles;
  assert.equal(last, ["__vdso_time of the program's vdso is only 6 bytes long"]);
});

test.run();
