import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isVdsoImage, vdsoFunctions } from '../../shared/vdso-image.js';
import { type ImageChange, vdsoImage } from './support/vdso-image.js';

const functions = { __vdso_time: 0x80, time: 0x80, __vdso_getcpu: 0x40 };

test('functions in the order of their places', () => {
  assert.equal(vdsoFunctions(vdsoImage(functions)), [
    { name: '__vdso_getcpu', offset: 0x40 },
    { name: '__vdso_time', offset: 0x80 },
    { name: 'time', offset: 0x80 },
  ]);
});

test('what is no function, or not in the image, is left out', () => {
  assert.equal(vdsoFunctions(vdsoImage(functions, { type: 1 })), []);
  assert.equal(vdsoFunctions(vdsoImage(functions, { section: 0 })), []);
  assert.equal(vdsoFunctions(vdsoImage(functions, { section: 0xfff1 })), []);
});

test('what is no image is told from one', () => {
  assert.ok(isVdsoImage(vdsoImage({})));
  assert.not(isVdsoImage(vdsoImage({}).subarray(0, 63)));
  assert.not(isVdsoImage(Buffer.alloc(4096)));
  assert.throws(() => vdsoFunctions(Buffer.alloc(4096)), /no 64-bit ELF image/);
});

const broken: Record<string, ImageChange> = {
  'no table of dynamic symbols': { table: 2 },
  'names that are nowhere': { namesLink: 200 },
  'a table of a size that is no multiple': { tableBytes: 25 },
  'a table that is too long': { tableBytes: 24 * 2000 },
  'a table that ends outside': { tableOffset: 4090 },
  'a table far outside': { tableOffset: 2 ** 52 },
  'a name that is outside of the names': { nameIndex: 1000 },
  'a name outside of the image': { nameIndex: 2 ** 31 },
};
for (const [name, change] of Object.entries(broken)) {
  test(`${name}: refused`, () => {
    assert.throws(
      () => vdsoFunctions(vdsoImage(functions, change)),
      (error: { code?: string }) => error.code === 'kernel-differs',
    );
  });
}

test('an image cut anywhere is read or refused, and nothing else', () => {
  const image = vdsoImage(functions);
  for (let length = 0; length < 2300; length += 7) {
    try {
      vdsoFunctions(image.subarray(0, length));
    } catch (error) {
      assert.is((error as { code?: string }).code, 'kernel-differs', String(length));
    }
  }
});

test('a function that lies outside is refused', () => {
  assert.throws(() => vdsoFunctions(vdsoImage({ far: 4096 })), /lies outside/);
  assert.throws(() => vdsoFunctions(vdsoImage({ far: 2 ** 52 })), /lies outside/);
});

test.run();
