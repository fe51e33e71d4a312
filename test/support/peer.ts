/** An authenticated source agent without a process behind it: it says whatever a test wants, in any order. */
import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type NativePageSender, native } from '../../native/index.js';
import { asMigrationError } from '../../shared/errors.js';
import { clocksNow, hostFacts } from '../../shared/host-facts.js';
import { toBytes, withRegisters } from '../../shared/injection/x86-64/registers.js';
import { isSpecial, parseMaps } from '../../shared/proc/mappings.js';
import { parseAddress } from '../../shared/protocol/address.js';
import type { WireValue } from '../../shared/protocol/codec.js';
import { connect } from '../../shared/protocol/connection.js';
import type { AgentSession } from '../../shared/protocol/handshake.js';
import { type FromSource, FromTarget } from '../../shared/protocol/messages.js';
import { flatten } from '../../shared/ranges.js';
import { parseSecret } from '../../shared/secret.js';
import type { State } from '../../shared/state/index.js';
import type { Mapping } from '../../shared/state/memory.js';
import { programVdso } from '../../shared/vdso.js';
import { newMigrationId } from '../../source-agent/migration-id.js';
import { mapping } from '../unit/support/mappings.js';
import { fromSource } from '../unit/support/messages.js';
import { sampleState, stamp } from '../unit/support/state.js';
import { scaled } from './time.js';
import type { TwoHosts } from './two-hosts.js';

export const innerPid = 4242;
/** Where the made-up program has its only memory. */
export const memory = mapping(0x10000, 16);

/** Hosts, or one agent of them. */
export interface Reachable {
  target: { address: string };
  secretFile: string;
}

export class Peer implements AsyncDisposable {
  #sender: NativePageSender | undefined;
  /** What it offers; drawn anew by each. */
  readonly migration = newMigrationId();
  /** The answer to the last step was `prepared`: the target holds it until it is told what has been decided. */
  #holds = false;

  private constructor(private readonly session: AgentSession<FromTarget, WireValue>) {}

  static async connect({ target, secretFile }: Reachable): Promise<Peer> {
    const secret = parseSecret(readFileSync(secretFile, 'utf8'), secretFile);
    const address = parseAddress(target.address);
    return new Peer(await connect<FromTarget, WireValue>({ ...address, secret, schema: FromTarget }));
  }

  /** Says it, valid or not. */
  say(message: unknown): void {
    this.session.control.send(message as WireValue);
  }

  /** What comes next: a message, or the code of the end. */
  async next(timeoutMs = 30_000): Promise<FromTarget | { type: 'ended'; code: string; what: string }> {
    try {
      return await this.session.control.receive(scaled(timeoutMs));
    } catch (error) {
      const { code, message: what } = asMigrationError(error);
      return { type: 'ended', code, what };
    }
  }

  async ask(message: unknown): Promise<Awaited<ReturnType<Peer['next']>>> {
    this.say(message);
    return this.next();
  }

  /** Says them in order; each must be answered by this type, or by nothing at all. */
  async walk(...steps: [message: unknown, answer: FromTarget['type'] | null][]): Promise<void> {
    for (const [message, expected] of steps) {
      if (expected === null) {
        this.say(message);
        continue;
      }
      const answer = await this.ask(message);
      this.#holds = answer.type === 'prepared';
      if (answer.type !== expected) throw new Error(`${expected} was due, ${JSON.stringify(answer)} came`);
    }
  }

  /** The walk up to the verdict, the page channel open: a build would be accepted. */
  async introduce(offer: Partial<Extract<FromSource, { type: 'offer' }>> = {}): Promise<void> {
    await this.walk(
      [{ type: 'hello', host: hostFacts(), clocks: clocksNow() }, 'hello'],
      [{ ...modestOffer(), migration: this.migration, ...offer }, 'verdict'],
    );
    await this.openPages();
  }

  /** A session about a migration of another: up to the first answer. */
  async recall(migration: string): Promise<Awaited<ReturnType<Peer['next']>>> {
    await this.walk([{ type: 'hello', host: hostFacts(), clocks: clocksNow() }, 'hello']);
    return this.ask({ type: 'recall', migration });
  }

  commit(epoch = 1): FromSource {
    return { type: 'commit', migration: this.migration, epoch };
  }

  abort(): FromSource {
    return { type: 'abort', migration: this.migration, reason: 'changed my mind' };
  }

  /** For one that has left: what it let the target hold goes. */
  async takeBack(hosts: Reachable): Promise<void> {
    if (!this.#holds) return;
    await using other = await Peer.connect(hosts);
    const found = await other.recall(this.migration);
    if (found.type !== 'prepared') throw new Error(`nothing was held: ${JSON.stringify(found)}`);
    await other.walk([this.abort(), 'aborted']);
  }

  async openPages(): Promise<void> {
    const { descriptor, key, channel } = await this.session.pageChannel(0);
    this.#sender = new native.PageSender({ socket: descriptor, key, channel, bandwidth: 0 });
    closeSync(descriptor);
  }

  /** Sends a page of our own memory as if it were one of the program, at its address here. */
  async sendForeignPage(): Promise<void> {
    const heap = parseMaps(readFileSync('/proc/self/maps', 'utf8')).find(({ path }) => path === '[heap]');
    const address = heap!.start;
    const memory = openSync('/proc/self/mem', 'r');
    try {
      const runs = BigUint64Array.of(address, address + 4096n, 0n);
      await this.#sender!.send({ pid: process.pid, memory, runs, sent: new native.SentPages() });
    } finally {
      closeSync(memory);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sender?.close();
    await this.session.control.close();
  }
}

export function modestOffer(): Extract<FromSource, { type: 'offer' }> {
  return {
    ...fromSource().offer,
    ids: [innerPid],
    needs: {
      privateBytes: 4096,
      accountedBytes: 4096,
      largestAccountedBytes: 4096,
      mappings: 1,
      lowestAddress: 0x10000n,
    },
    files: [],
    hardLimits: [],
    stdio: 'null',
    vdso: modestVdso(),
  };
}

/** That of this kernel. */
export function modestVdso() {
  return programVdso(process.pid, parseMaps(readFileSync('/proc/self/maps', 'utf8')), noVector)!;
}

const noVector = Buffer.alloc(16);

/** The special mappings as this kernel makes them, and one of memory. */
export function modestMappings(): Mapping[] {
  const special = parseMaps(readFileSync('/proc/self/maps', 'utf8'))
    .filter((own) => isSpecial(own) && own.path !== '[vsyscall]')
    .map(
      ({ start, end, path }): Mapping => ({
        ...memory,
        start,
        end,
        kind: 'special',
        name: path,
        protection: 5,
      }),
    );
  return [memory, ...special];
}

/** A program that could really be built: one thread, no descriptors, waiting for a signal. */
export function modestState(): State {
  const state = sampleState();
  const [{ start, end }, [thread]] = [memory, state.threads];
  const fields = Object.fromEntries(Object.keys(state.memory.fields).map((name) => [name, start + 16n]));
  return {
    ...state,
    process: { ...state.process, pid: innerPid, oomScoreAdjustment: 0 },
    hostname: null,
    files: { descriptions: [], descriptors: [] },
    pipes: [],
    directories: { ...state.directories, workingDirectory: '/' },
    memory: {
      fields: { ...(fields as State['memory']['fields']), endCode: end - 16n, endData: end - 16n },
      auxiliaryVector: new Uint8Array(16),
      executable: '/bin/true',
      executableStamp: stamp,
      lockFuture: 'no',
      mergeAny: false,
    },
    limits: state.limits.map((_, resource) => {
      const [soft, hard] = native.getLimit(process.pid, resource);
      return { soft, hard };
    }),
    threads: [
      {
        ...thread!,
        tid: innerPid,
        ...borrowedImage(),
        affinity: null,
        rseq: null,
        wait: null,
        pending: [],
        robustList: { head: 0n, bytes: 0n },
        scheduling: { ...thread!.scheduling, nice: 0 },
      },
    ],
    signals: { actions: [], pending: [] },
    timers: [],
    credentials: {
      ...state.credentials,
      uids: { real: 0, effective: 0, saved: 0, fileSystem: 0 },
      gids: { real: 0, effective: 0, saved: 0, fileSystem: 0 },
      groups: [],
      permitted: 0n,
      bounding: 0n,
    },
  };
}

/** Registers and extended state as this machine has them, of a thread that waits in pause(2), called from the vdso. */
function borrowedImage() {
  const vdso = parseMaps(readFileSync('/proc/self/maps', 'utf8')).filter(({ path }) => path === '[vdso]');
  const call = native.findBytes(process.pid, flatten(vdso), Uint8Array.of(0x0f, 0x05))!;
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  try {
    native.seizeAndStop([child.pid!], 0, 5000);
    const [image] = native.readThreads([child.pid!]);
    // ERESTARTNOHAND: without a signal the kernel makes the call again.
    const changes = { rip: call + 2n, originalRax: 34n, rax: -514n };
    const registers = withRegisters(image!.registers, changes);
    return { registers: toBytes(registers), extendedState: image!.extendedState };
  } finally {
    child.kill('SIGKILL');
  }
}

/** Names of the processes in the target's pid namespace. */
export function processesOf({ target }: TwoHosts): string[] {
  const namespace = readlinkSync(`/proc/${target.find(1)!.pid}/ns/pid`);
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      if (readlinkSync(`/proc/${name}/ns/pid`) !== namespace) return [];
      return [readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0').slice(0, 2).join(' ')];
    } catch {
      return []; // it ended meanwhile
    }
  });
}

/** Waits until only these processes are there; what is there too at last. */
export async function othersAfter(hosts: TwoHosts, expected: readonly string[]): Promise<string[]> {
  let others: string[] = [];
  for (let tries = 0; tries < 300; tries += 1) {
    others = processesOf(hosts);
    for (const name of expected) if (others.includes(name)) others.splice(others.indexOf(name), 1);
    if (others.length === 0) return [];
    await sleep(50);
  }
  return others;
}
