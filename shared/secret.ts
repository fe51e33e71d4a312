/**
 * The secret both agents hold: 32 random bytes, in a file as one line of text. It is the pre-shared key of the
 * control channel's TLS; whoever holds it can send processes to the target.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { MigrationError } from './errors.js';

const prefix = 'godwit-secret-1:';
const keyBytes = 32;
/** More than a secret and its line end can have; nothing beyond it is ever read. */
const maxFileBytes = 256;

export interface Secret {
  /** What the client names in the clear when it connects: a constant, so that it tells nothing about the key. */
  readonly identity: string;
  /** 32 bytes. */
  readonly key: Buffer;
}

/** One line (without its line end) for a secret file. */
export function createSecret(): string {
  return prefix + randomBytes(keyBytes).toString('base64url');
}

/** The secret in one line of text. Throws MigrationError 'secret-unusable', which never quotes the text. */
export function parseSecret(text: string, file: string): Secret {
  const line = text.replace(/\r?\n$/, '');
  const key = Buffer.from(line.slice(prefix.length), 'base64url');
  // Decoding forgives a lot (other alphabets, stray characters); encoding again does not.
  if (key.length !== keyBytes || line !== prefix + key.toString('base64url')) {
    throw unusable(file, 'does not hold a secret');
  }
  return { identity: 'godwit', key };
}

/**
 * Reads a secret file. Throws MigrationError 'secret-missing' where there is none, 'secret-unusable' where it is not
 * a regular file, is open to group or others, cannot be read, or holds something else.
 */
export function readSecret(file: string): Secret {
  let fd: number;
  try {
    // Without O_NONBLOCK a FIFO of that name would hold the agent until somebody writes to it.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (cause) {
    if (codeOf(cause) === 'ENOENT') {
      throw new MigrationError(
        'secret-missing',
        `there is no secret file ${file}`,
        { object: file },
        { cause },
      );
    }
    throw unusable(file, `cannot be opened (${codeOf(cause)})`, cause);
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw unusable(file, 'is not a regular file');
    if ((stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(3, '0');
      throw unusable(file, `is open to others than its owner (mode ${mode})`);
    }
    const buffer = Buffer.alloc(maxFileBytes);
    const length = readSync(fd, buffer, 0, maxFileBytes, 0);
    return parseSecret(buffer.toString('latin1', 0, length), file);
  } finally {
    closeSync(fd);
  }
}

function unusable(file: string, what: string, cause?: unknown): MigrationError {
  return new MigrationError(
    'secret-unusable',
    `the secret file ${file} ${what}`,
    { object: file },
    { cause },
  );
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}
