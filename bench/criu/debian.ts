/**
 * CRIU of Debian 13, with the libraries it needs, unpacked into a folder of its own and never installed. apt runs on a
 * configuration, package lists and a package database that are private to that folder: the machine's own are read for
 * the mirror and for proxies, and not changed.
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const suite = 'trixie';
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** Where no mirror of Debian is configured. */
const usualMirror = 'http://deb.debian.org/debian/';
const timeLimitMs = 300_000;

const run = promisify(execFile);

/**
 * Fetches and unpacks the package into `root` unless it is there already. Throws Error with a sentence for a person
 * where it cannot be had.
 */
export async function fetchCriu(root: string): Promise<void> {
  if (existsSync(join(root, 'usr/sbin/criu'))) return;
  for (const tool of ['/usr/bin/apt-get', '/usr/bin/dpkg-deb']) {
    if (!existsSync(tool)) throw unavailable(`it is a package of Debian, and there is no ${tool} here`);
  }
  if (!existsSync(keyring)) {
    throw unavailable(`${keyring} is missing (package debian-archive-keyring), so nothing could be verified`);
  }
  mkdirSync(dirname(root), { recursive: true });
  const folder = mkdtempSync(`${root}.`);
  try {
    await unpackInto(folder);
    renameSync(join(folder, 'root'), root);
  } catch (error) {
    throw unavailable(lastLine(error));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function unpackInto(folder: string): Promise<void> {
  for (const name of ['etc', 'state/lists/partial', 'cache/archives/partial', 'root']) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  // An empty database: every library comes along, whatever this machine has installed.
  writeFileSync(join(folder, 'state/status'), '');
  const mirror = mirrorOf(await ask('apt-get', ['indextargets', '--format', '$(ORIGIN) $(REPO_URI)']));
  writeFileSync(join(folder, 'etc/sources.list'), `deb [signed-by=${keyring}] ${mirror} ${suite} main\n`);
  const settings = await ask('apt-config', ['dump', '--format', '%F "%v";%n', 'Acquire']);
  writeFileSync(join(folder, 'apt.conf'), aptConfiguration(folder, settings));

  const env = { ...process.env, APT_CONFIG: join(folder, 'apt.conf'), LC_ALL: 'C' };
  const apt = (...args: string[]) => run('apt-get', ['-q', ...args], { env, timeout: timeLimitMs });
  await apt('update', '--error-on=any');
  await apt('install', '--yes', '--download-only', '--no-install-recommends', 'criu');
  const archives = join(folder, 'cache/archives');
  for (const name of readdirSync(archives).filter((file) => file.endsWith('.deb'))) {
    await run('dpkg-deb', ['--extract', join(archives, name), join(folder, 'root')]);
  }
}

/** The first mirror of Debian itself among this machine's sources, from lines "ORIGIN URI". */
export function mirrorOf(targets: string): string {
  const [, mirror] = /^Debian (https?:\S+\/debian\/?)$/m.exec(targets) ?? [];
  return mirror ?? usualMirror;
}

/** apt.conf(5). APT_CONFIG is read first, so it can keep apt from reading the machine's own configuration. */
export function aptConfiguration(folder: string, machineSettings: string): string {
  const network = machineSettings.split('\n').filter((line) => /^Acquire::(http|https|Retries)\b/.test(line));
  return [
    `Dir "${folder}/";`,
    'Dir::Etc "etc/";',
    'Dir::State "state/";',
    'Dir::State::status "status";',
    'Dir::Cache "cache/";',
    // Its own account could not reach a folder below one that is closed to others. Signatures are checked all the same.
    'APT::Sandbox::User "root";',
    'Acquire::Languages "none";',
    ...network,
    '',
  ].join('\n');
}

async function ask(program: string, args: readonly string[]): Promise<string> {
  return (await run(program, [...args])).stdout;
}

function unavailable(reason: string): Error {
  return new Error(`CRIU cannot be had on this machine: ${reason}`);
}

function lastLine(error: unknown): string {
  const { stderr, message } = error as Error & { stderr?: string };
  const said = (stderr ?? '').trim().split('\n').filter(Boolean);
  return said.find((line) => line.startsWith('E: ')) ?? said.at(-1) ?? message;
}
