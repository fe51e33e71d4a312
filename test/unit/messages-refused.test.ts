/** One test for each way in which a message can be refused. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import { FromSource, FromTarget } from '../../shared/protocol/messages.js';
import { fromSource, fromTarget } from './support/messages.js';

function refused(message: unknown, text: RegExp, schema: v.GenericSchema = FromSource): void {
  const result = v.safeParse(schema, message);
  const said = result.success
    ? 'it was accepted'
    : result.issues.map((issue) => `${v.getDotPath(issue)}: ${issue.message}`).join('; ');
  assert.match(said, text);
}

test('an unknown kind, none at all, and things that are no objects', () => {
  for (const message of [{ type: 'fly' }, {}, null, 5, [], 'commit', { type: null }]) refused(message, /./);
  assert.not.ok(v.safeParse(FromSource, { type: 'prepared', phases: {} }).success, 'what only a target says');
});

test('a field too many, a field too few, a field of another type', () => {
  refused({ ...fromSource().commit, now: true }, /now: Invalid key/);
  refused({ type: 'round', number: 1 }, /frames: Invalid key/);
  refused({ type: 'round', number: 1, frames: '7' }, /frames: Invalid type/);
  refused({ type: 'round', number: 1, frames: 7n }, /frames: Invalid type/);
});

test('counts are whole, not negative, and exact', () => {
  for (const frames of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])
    refused({ type: 'round', number: 1, frames }, /frames/);
});

test('ids of processes', () => {
  for (const id of [0, -1, 4194305, 1.5]) refused({ ...fromSource().offer, ids: [id] }, /ids\.0/);
  refused({ ...fromSource().offer, ids: Array.from({ length: 65537 }, () => 1) }, /ids: Invalid length/);
});

test('paths are absolute, bounded, and hold no zero', () => {
  const offer = (path: string) => ({
    ...fromSource().offer,
    files: [{ ...fromSource().offer.files[0], path }],
  });
  for (const path of ['', 'etc/passwd', '../x', `/${'x'.repeat(4096)}`, '/a\0b'])
    refused(offer(path), /files\.0\.path/);
});

test('migration ids and digests are hexadecimal of their length', () => {
  for (const migration of ['', '../../etc', '0123456789ABCDEF', '0'.repeat(17), `${'0'.repeat(16)}\n`])
    refused({ ...fromSource().offer, migration }, /migration/);
  for (const sha256 of ['', 'g'.repeat(64), 'a'.repeat(63)])
    refused({ type: 'identities', files: [{ path: '/x', sha256 }] }, /sha256/);
});

test('ranges are page aligned, in user space, and not empty', () => {
  const finish = (range: unknown) => ({ ...fromSource().finish, dropped: [range] });
  for (const range of [
    [1n, 4096n],
    [0n, 4095n],
    [0n, (1n << 47n) + 4096n],
    [-4096n, 0n],
    [0n],
    [0n, 4096n, 8192n],
    [0, 4096],
  ])
    refused(finish(range), /dropped\.0/);
  for (const range of [
    [4096n, 4096n],
    [8192n, 4096n],
  ])
    refused(finish(range), /dropped\.0.*empty/);
});

test('the other side may only name errors that exist', () => {
  refused({ type: 'failed', code: 'constructor', what: '' }, /code/, FromTarget);
  refused({ type: 'failed', code: 'toString', what: '' }, /code/, FromTarget);
});

test('text is bounded', () => {
  refused({ ...fromSource().abort, reason: 'x'.repeat(4097) }, /reason: Invalid length/);
  refused(
    { ...fromTarget().running, notes: Array.from({ length: 65 }, () => '') },
    /notes: Invalid length/,
    FromTarget,
  );
});

test('phases are named times', () => {
  refused({ type: 'prepared', phases: { x: -1 } }, /phases\.x/, FromTarget);
  refused({ type: 'prepared', phases: { ['x'.repeat(33)]: 1 } }, /phases/, FromTarget);
});

test.run();
