/** A process of ours with memory to look at: test/programs/page-owner.c, compiled on the spot. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { native, ScanMode } from '../../native/index.js';
import { isKernelError } from '../../shared/errors.js';
import { compileProgram } from '../support/programs.js';

export const page = 4096n;
export const protection = { none: 0, read: 1, readWrite: 3 } as const;

export class PageOwnerProgram {
  readonly folder = mkdtempSync(join(tmpdir(), 'godwit-pages-'));
  readonly path = compileProgram('page-owner');

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class PageOwner {
  readonly pid: number;
  readonly pagemap: number;
  readonly memory: number;
  private readonly lines: Interface;
  private readonly answers: AsyncIterator<string>;

  private constructor(private readonly child: ChildProcess) {
    this.pid = child.pid!;
    this.pagemap = openSync(`/proc/${this.pid}/pagemap`, 'r');
    this.memory = openSync(`/proc/${this.pid}/mem`, 'r+');
    this.lines = createInterface({ input: child.stdout! });
    this.answers = this.lines[Symbol.asyncIterator]();
  }

  static async start(program: PageOwnerProgram): Promise<PageOwner> {
    const child = spawn(program.path, [], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    return new PageOwner(child);
  }

  async command(name: string, ...words: (bigint | number | string)[]): Promise<string> {
    const text = words.map((word) => (typeof word === 'string' ? word : word.toString(16)));
    this.child.stdin!.write(`${[name, ...text].join(' ')}\n`);
    const { value, done } = await this.answers.next();
    if (done) throw new Error(`the program ended at: ${name} ${text.join(' ')}`);
    return value;
  }
  async map(bytes: bigint, prot: number = protection.readWrite, address = 0n): Promise<bigint> {
    return BigInt(`0x${await this.command('map', bytes, prot, address)}`);
  }
  /** Whether the kernel knows what the command asks for, tried on a page of its own. */
  async supports(name: 'track' | 'guard'): Promise<boolean> {
    const address = await this.map(page);
    const answer = await this.command(name, address, page);
    await this.command('unmap', address, page);
    return answer === 'ok';
  }

  /** Whether the kernel has PAGEMAP_SCAN. */
  get scans(): boolean {
    try {
      native.scanPages(this.pagemap, BigUint64Array.of(page, 2n * page), ScanMode.final);
      return true;
    } catch (error) {
      if (isKernelError(error, 'ENOTTY')) return false;
      throw error;
    }
  }

  async fill(address: bigint, bytes: bigint, seed = 1): Promise<void> {
    await this.command('fill', address, bytes, seed);
  }

  async end(): Promise<void> {
    closeSync(this.pagemap);
    closeSync(this.memory);
    const exited = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await exited;
    this.lines.close();
  }
}
