/** Two agents in one process, and the errors they throw. */
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import { MigrationError } from '../../../shared/errors.js';
import { type ConnectOptions, connect } from '../../../shared/protocol/connection.js';
import type { AgentSession } from '../../../shared/protocol/handshake.js';
import { type AgentListener, type ListenOptions, listen } from '../../../shared/protocol/listener.js';
import { createSecret, parseSecret, type Secret } from '../../../shared/secret.js';

export const schema = v.object({ kind: v.string(), body: v.optional(v.unknown()) });
export type Message = { kind: string; body?: Uint8Array | bigint | string | number | BigUint64Array };
export type Received = v.InferOutput<typeof schema>;
export type Session = AgentSession<Received, Message>;

export function newSecret(): Secret {
  return parseSecret(createSecret(), 'test');
}

export interface TestListener extends AgentListener {
  secret: Secret;
  log: string[];
  nextSession(): Promise<Session>;
  connect(options?: Partial<ConnectOptions<Received>>): Promise<Session>;
}

export async function testListener(
  options: Partial<ListenOptions<Received, Message>> = {},
): Promise<TestListener> {
  const secret = options.secret ?? newSecret();
  const log: string[] = [];
  const sessions: Session[] = [];
  const waiting: ((session: Session) => void)[] = [];
  const listener = await listen<Received, Message>({
    host: '127.0.0.1',
    port: 0,
    secret,
    schema,
    onSession: (session) => {
      const next = waiting.shift();
      if (next) next(session);
      else sessions.push(session);
    },
    log: (line) => log.push(line),
    ...options,
  });
  return {
    ...listener,
    secret,
    log,
    nextSession: () =>
      new Promise((resolve) => {
        const session = sessions.shift();
        if (session) resolve(session);
        else waiting.push(resolve);
      }),
    connect: (more = {}) => connect<Received, Message>({ ...listener.address, secret, schema, ...more }),
  };
}

export async function rejects(
  promise: Promise<unknown>,
  code: string,
  text?: RegExp,
): Promise<MigrationError> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, MigrationError);
    assert.is((error as MigrationError).code, code, (error as MigrationError).message);
    if (text) assert.match((error as MigrationError).message, text);
    return error as MigrationError;
  }
  throw new Error(`expected ${code}, and nothing went wrong`);
}

/** Waits until `condition` holds; the caller's test fails where it never does. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 500; tries += 1) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`it never came to pass that ${what}`);
}

/** xorshift32: the same numbers for the same seed. */
export function generator(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}
