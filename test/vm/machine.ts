/**
 * A virtual machine that runs one command on another kernel and is gone afterwards. It sees this host's root
 * read-only over 9p, so node, compilers and the built addon are there as they are here; /tmp, /run, /root and /mnt are
 * empty and its own. QEMU emulates it in software: system calls and JavaScript are some 15 times slower.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { compileProgram } from '../support/programs.js';
import type { Kernel } from './kernels.js';

const init = fileURLToPath(new URL('../../../test/vm/init.sh', import.meta.url));

/** One end of a cable between two machines. */
export interface Plug {
  /** UDP ports on the loopback of this host: one's own, and that of the other end. */
  port: number;
  peer: number;
  /** Of the machine's interface, as in "10.77.0.1/24". */
  address: string;
}

export interface MachineOptions {
  kernel: Kernel;
  /** Runs as root in the current directory of this process. */
  command: readonly string[];
  env?: Readonly<Record<string, string>>;
  /** The machine is ended when it takes longer. */
  limitSeconds: number;
  memoryMb?: number;
  cpus?: number;
  plug?: Plug;
  /** A folder of this host that it can write to, at the same path. */
  shared?: string;
}

export interface MachineEnd {
  /** Exit code of the command; null when the machine ended without one. */
  code: number | null;
  /** stdout and stderr of the command. */
  output: string;
  /** What QEMU and the kernel said: for a machine that ended without an exit code. */
  console: string;
}

// The emulation runs rep movsb byte by byte and pays at each SMAP toggle: without them memory work is 2 to 10 times
// faster. The kernel asks for "rep good" apart from ERMS.
const processor = 'max,la57=off,erms=off,fsrm=off,smap=off,smep=off,pku=off,umip=off';
const kernelOptions =
  'console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on tsc=reliable no_timer_check ' +
  'cryptomgr.notests noreplace-smp audit=0 nowatchdog net.ifnames=0 clearcpuid=rep_good';

/**
 * Of every command. An emulator has to translate again what a compiler has just written: interpreted JavaScript is twice
 * as fast there (one migration 7 s in place of 12 to 20). There is no WebAssembly then, so no fetch.
 */
const machineEnv = { GODWIT_TIME_SCALE: '20', NODE_OPTIONS: '--jitless' };

// The clock that it begins with knows whole seconds only: the time that this host writes to a new file is better.
const main = `: >/run/vm/clock
/bin/date --set="$(/bin/date --reference=/run/vm/clock +@%s.%N)" >/dev/null
/run/busybox setsid /bin/bash /run/vm/command </dev/null >/run/vm/output 2>&1
echo $? >/run/vm/code
/run/busybox sync
/run/busybox poweroff -f
`;

export class Machine implements AsyncDisposable {
  readonly #folder: string;
  readonly #qemu: ChildProcess;
  readonly #ended: Promise<unknown>;
  readonly #timer: NodeJS.Timeout;

  private constructor(options: MachineOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), 'godwit-machine-'));
    try {
      this.#describe(options);
      const log = openSync(join(this.#folder, 'qemu'), 'w');
      // A machine must not outlive who started it, whatever ends that.
      const command = ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...this.#arguments(options)];
      this.#qemu = spawn('setpriv', command, { stdio: ['ignore', log, log] });
      closeSync(log);
    } catch (error) {
      rmSync(this.#folder, { recursive: true, force: true });
      throw error;
    }
    this.#ended = once(this.#qemu, 'exit');
    // Whoever waits is told.
    this.#ended.catch(() => {});
    this.#timer = setTimeout(() => this.kill(), options.limitSeconds * 1000);
  }

  static boot(options: MachineOptions): Machine {
    return new Machine(options);
  }

  /** What the command says, each line as it comes, until the machine has ended. */
  async *lines(): AsyncGenerator<string> {
    let ended = false;
    const end = this.#ended.then(
      () => (ended = true),
      () => (ended = true),
    );
    for (let given = 0; ; ) {
      // The last words are there when it has ended: looked for first.
      const over = ended;
      const said = this.#read('output');
      const whole = over ? said.length : said.lastIndexOf('\n') + 1;
      if (whole > given) yield* said.slice(given, whole).replace(/\n$/, '').split('\n');
      given = whole;
      if (over) return;
      await Promise.race([end, sleep(300)]);
    }
  }

  /** Waits until the command has ended, or the limit has. */
  async end(): Promise<MachineEnd> {
    await this.#ended;
    const code = this.#read('code').trim();
    const said = this.#read('qemu') + this.#read('console');
    return { code: code === '' ? null : Number(code), output: this.#read('output'), console: said };
  }

  /** Pulls the plug; what it has said can still be read. */
  kill(): void {
    this.#qemu.kill('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#qemu.exitCode === null && this.#qemu.signalCode === null) this.kill();
    await this.#ended.catch(() => {});
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #read(name: string): string {
    const path = join(this.#folder, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** The folder that init.sh finds as /run/vm. */
  #describe({ kernel, command, env = {}, plug, shared }: MachineOptions): void {
    const { PATH = '/usr/bin:/bin', HOME = '/root', LANG = 'C' } = process.env;
    const exports = Object.entries({ PATH, HOME, LANG, ...machineEnv, ...env }).map(
      ([name, value]) => `export ${name}=${quoted(value)}\n`,
    );
    const directory = process.cwd();
    const started = `cd ${quoted(directory)} || exit 125\nexec ${command.map(quoted).join(' ')}\n`;
    const file = (name: string, text: string) => writeFileSync(join(this.#folder, name), text);
    file('directory', `${directory}\n`);
    file('name', `debian-${kernel.release.split('.').slice(0, 2).join('-')}\n`);
    file('command', exports.join('') + started);
    file('main', main);
    if (plug) file('address', `${plug.address}\n`);
    if (shared !== undefined) file('shared', `${shared}\n`);
    buildInitramfs(kernel, this.#folder);
  }

  #arguments({ kernel, memoryMb = 2048, cpus = 2, plug, shared }: MachineOptions): string[] {
    const share = (tag: string, path: string, options: string) => [
      '-fsdev',
      `local,id=${tag},path=${path},security_model=none${options}`,
      '-device',
      `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`,
    ];
    const cable = ({ port, peer }: Plug) => [
      '-netdev',
      `socket,id=cable,udp=127.0.0.1:${peer},localaddr=127.0.0.1:${port}`,
      '-device',
      `virtio-net-pci,netdev=cable,mac=${macOf(port)},romfile=`,
    ];
    return [
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-machine', 'pc,hpet=off,usb=off,smm=off', '-accel', 'tcg,thread=multi', '-cpu', processor],
      ...['-m', String(memoryMb), '-smp', String(cpus)],
      ...['-kernel', kernel.image, '-initrd', join(this.#folder, 'initramfs')],
      ...['-append', `${kernelOptions} tsc_early_khz=${tscKhz()}`],
      ...['-serial', `file:${join(this.#folder, 'console')}`, '-device', 'virtio-rng-pci'],
      ...share('root', '/', ',readonly=on,multidevs=remap'),
      ...share('run', this.#folder, ''),
      ...(shared === undefined ? [] : share('shared', shared, '')),
      ...(plug ? cable(plug) : []),
    ];
  }
}

/**
 * The emulated counter runs as this host's. A kernel that finds its rate out by itself is wrong by any factor where the
 * host is busy, and its clock with it.
 */
function tscKhz(): string {
  return execFileSync(compileProgram('tsc-rate'), { encoding: 'utf8' }).trim();
}

/** Both ends of a new cable, the first with address .1, the second with .2. */
export async function connectPlugs(): Promise<[Plug, Plug]> {
  const [one, two] = await freePorts();
  return [
    { port: one, peer: two, address: '10.77.0.1/24' },
    { port: two, peer: one, address: '10.77.0.2/24' },
  ];
}

async function freePorts(): Promise<[number, number]> {
  const sockets = [createSocket('udp4'), createSocket('udp4')];
  const ports: number[] = [];
  for (const socket of sockets) {
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    ports.push(socket.address().port);
  }
  for (const socket of sockets) socket.close();
  return ports as [number, number];
}

function macOf(port: number): string {
  const byte = (value: number) => (value & 0xff).toString(16).padStart(2, '0');
  return `52:54:00:77:${byte(port >> 8)}:${byte(port)}`;
}

/** The first root: a static busybox, the modules that lead to the host's root, and init.sh. */
function buildInitramfs(kernel: Kernel, folder: string): void {
  const tree = join(folder, 'tree');
  for (const name of ['bin', 'dev', 'proc', 'sys', 'host', 'new'])
    mkdirSync(join(tree, name), { recursive: true });
  copyFileSync(init, join(tree, 'init'));
  const busybox = execFileSync('bash', ['-c', 'type -P busybox'], { encoding: 'utf8' }).trim();
  copyFileSync(busybox, join(tree, 'bin/busybox'));
  cpSync(kernel.modules, join(tree, 'modules'), { recursive: true });
  const pack = 'find . | cpio --create --format=newc --quiet >../initramfs';
  execFileSync('bash', ['-c', `set -o pipefail; ${pack}`], { cwd: tree });
  rmSync(tree, { recursive: true });
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
