/**
 * `migrate agent`: the part that listens. It starts the spawner while it still has rights, then becomes an
 * unprivileged user: whatever a peer makes of it has no way to the system but the spawner's one word.
 */
import { readFileSync } from 'node:fs';
import { native } from '../native/index.js';
import { type ErrorCode, MigrationError } from '../shared/errors.js';
import { forceableCodes } from '../shared/force.js';
import { clocksNow, hostFacts } from '../shared/host-facts.js';
import { cleanJournals } from '../shared/journal.js';
import type { Address } from '../shared/protocol/address.js';
import type { WireValue } from '../shared/protocol/codec.js';
import { type AgentListener, listen } from '../shared/protocol/listener.js';
import { LocalChannel } from '../shared/protocol/local.js';
import { type Clocks, FromSource, type HostFacts } from '../shared/protocol/messages.js';
import type { Secret } from '../shared/secret.js';
import { openDurableDirectory } from '../shared/state-directory.js';
import { type Helper, startHelper } from './child-process.js';
import { FromSpawner, type ToSpawner } from './local-messages.js';
import { Reception } from './reception.js';
import { ShepherdLink } from './shepherd-link.js';

export interface ServeOptions {
  listen: Address;
  secret: Secret;
  /** Logs and journals of migrated processes, readable by root only; on a disk: see shared/state-directory.ts. */
  stateDirectory: string;
  log: (line: string) => void;
  /** What sources may force: shared/force.ts. Default everything that can be. */
  allowForce?: readonly ErrorCode[];
  /** What this host is; default what it finds out. */
  host?: { facts: HostFacts; clocks: () => Clocks };
  /** The account the network part becomes; default nobody. */
  user?: string;
  signal: AbortSignal;
  onListening: (address: Address) => void;
}

const maxReceptions = 16;
const spawnMs = 30000;
/** How long a journal is kept that nobody will ask about again. */
const keptMs = 7 * 24 * 3600 * 1000;
const firstOpenPort = 1024;
const prSetNoNewPrivileges = 38;

/** Resolves when it was stopped; migrated processes live on. */
export async function serve(options: ServeOptions): Promise<void> {
  const account = accountOf(options.user ?? 'nobody');
  const stateDirectory = openDurableDirectory(options.stateDirectory);
  cleanJournals(stateDirectory, keptMs);
  const host = options.host ?? { facts: hostFacts(), clocks: clocksNow };
  const spawner = new Spawner(await startHelper('spawner', [stateDirectory]));
  // Only a low port needs rights to be opened.
  const low = options.listen.port > 0 && options.listen.port < firstOpenPort;
  if (!low) becomeUnprivileged(account);

  let receptions = 0;
  const listener: AgentListener = await listen<FromSource, WireValue>({
    ...options.listen,
    secret: options.secret,
    schema: FromSource,
    log: options.log,
    onSession: (session) => {
      if (receptions >= maxReceptions) {
        const what = `this agent already receives ${receptions} processes`;
        session.control.send({ type: 'failed', code: 'target-busy', what });
        void session.control.close();
        return;
      }
      receptions += 1;
      const reception = new Reception(session, {
        ...host,
        allowForce: options.allowForce ?? forceableCodes,
        openShepherd: () => spawner.openShepherd(),
        recallShepherd: (migration) => spawner.recallShepherd(migration),
        log: options.log,
      });
      void reception.done.then(() => {
        receptions -= 1;
      });
    },
  });
  if (low) becomeUnprivileged(account);
  options.onListening(listener.address);
  await new Promise<void>((resolve) => {
    if (options.signal.aborted) resolve();
    options.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  await listener.close();
  await spawner.close();
}

/** Our side of the spawner: one shepherd at a time, as its answers carry no names. */
class Spawner {
  readonly #channel: LocalChannel<FromSpawner, ToSpawner>;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly helper: Helper) {
    this.#channel = new LocalChannel<FromSpawner, ToSpawner>(helper.messages, {
      schema: FromSpawner,
      peer: 'the spawner',
    });
  }

  openShepherd(): Promise<ShepherdLink> {
    return this.#ask({ type: 'spawn' });
  }

  /** Whoever knows of a migration that another session began, were it only that nobody does. */
  recallShepherd(migration: string): Promise<ShepherdLink> {
    return this.#ask({ type: 'recall', migration });
  }

  #ask(message: ToSpawner): Promise<ShepherdLink> {
    const opened = this.#queue.then(() => this.#open(message));
    this.#queue = opened.catch(() => undefined);
    return opened;
  }

  async #open(message: ToSpawner): Promise<ShepherdLink> {
    this.#channel.send(message);
    const answer = await this.#channel.receive(spawnMs);
    if (answer.type === 'failed')
      throw new MigrationError('target-failed', `no shepherd could be started: ${answer.what}`);
    const [messages, transfer] = native.receiveDescriptors(this.helper.transfer, spawnMs);
    return new ShepherdLink(messages!, transfer);
  }

  close(): Promise<void> {
    return this.#channel.close();
  }
}

interface Account {
  uid: number;
  gid: number;
}

function accountOf(user: string): Account {
  const entry = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === user);
  if (!entry) throw new MigrationError('usage', `there is no account "${user}" on this host`);
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}

function becomeUnprivileged({ uid, gid }: Account): void {
  if (process.getuid!() !== 0) {
    throw new MigrationError('not-permitted', 'the target agent has to be started by root');
  }
  process.setgroups!([]);
  process.setgid!(gid);
  process.setuid!(uid);
  native.prctl(prSetNoNewPrivileges, 1, 0, 0, 0);
}
