/** Text from the command line as values. All throw MigrationError 'usage'. */
import { isAbsolute } from 'node:path';
import { type ErrorCode, MigrationError } from '../shared/errors.js';
import { forceableCodes } from '../shared/force.js';
import { type Address, parseAddress } from '../shared/protocol/address.js';

/** Pids end at 2^22 on 64-bit Linux (proc(5), pid_max). */
const maxPid = 4_194_304;
const maxRate = 1e12;

export function parsePid(text: string): number {
  const pid = wholeNumber(text);
  if (pid === null || pid < 1 || pid > maxPid) {
    throw usage(`${quoted(text)} is neither a process id nor a command`);
  }
  return pid;
}

export function parseMigration(text: string): string {
  if (!/^[0-9a-f]{16}$/.test(text))
    throw usage(`${quoted(text)} is no id of a migration: see \`migrate status\``);
  return text;
}

/** Where to go: unlike where to listen, it needs a port. */
export function parseTarget(text: string): Address {
  const address = parseAddress(text);
  if (address.port === 0) throw usage(`${quoted(text)} names no port: a target listens on a port above 0`);
  return address;
}

/** Milliseconds, also with a fraction, above 0. */
export function parseMilliseconds(option: string, text: string): number {
  const value = decimal(text);
  if (value === null || value <= 0 || value > 3_600_000) {
    throw usage(`${option} takes milliseconds above 0 and up to 3600000, not ${quoted(text)}`);
  }
  return value;
}

export function parseRounds(option: string, text: string): number {
  const value = wholeNumber(text);
  if (value === null || value < 1 || value > 1000) {
    throw usage(`${option} takes a whole number from 1 to 1000, not ${quoted(text)}`);
  }
  return value;
}

const multipliers: Record<string, number> = { '': 1, k: 1e3, K: 1e3, M: 1e6, G: 1e9 };

/**
 * Bytes a second: a number, then k, M or G (powers of 1000), with or without a B; 0 for no limit. A small b or m is
 * refused, because elsewhere it means bits or thousandths.
 */
export function parseRate(option: string, text: string): number {
  const [, digits = '', suffix = ''] = /^(\d+(?:\.\d+)?)([kKMG]?)B?$/.exec(text) ?? [];
  const value = decimal(digits);
  const rate = value === null ? Number.NaN : Math.round(value * multipliers[suffix]!);
  if (value !== 0 && !(rate >= 1000 && rate <= maxRate)) {
    throw usage(
      `${option} takes bytes a second from 1k to 1000G, such as 500k, 100MB or 1.5G (powers of 1000), or 0 for no limit, not ${quoted(text)}`,
    );
  }
  return rate;
}

/** 'log', 'null', or an absolute path. */
export function parseStdio(option: string, text: string): string {
  if (text === 'log' || text === 'null') return text;
  if (isAbsolute(text) && !text.includes('\0')) return text;
  throw usage(`${option} takes log, null or an absolute path on the target, not ${quoted(text)}`);
}

/** One of a few words. */
export function parseChoice<T extends string>(option: string, choices: readonly T[], text: string): T {
  const choice = choices.find((word) => word === text);
  if (choice === undefined) throw usage(`${option} takes ${choices.join(', ')}, not ${quoted(text)}`);
  return choice;
}

/** A name that can be forced. */
export function parseForce(option: string, text: string): ErrorCode {
  const code = forceableCodes.find((name) => name === text);
  if (code === undefined)
    throw usage(`${option} takes one of ${forceableCodes.join(', ')}, not ${quoted(text)}`);
  return code;
}

/** Names that can be forced, with commas between them; or all, or none. */
export function parseForces(option: string, text: string): readonly ErrorCode[] {
  if (text === 'all') return forceableCodes;
  return text === 'none' ? [] : text.split(',').map((name) => parseForce(option, name));
}

function wholeNumber(text: string): number | null {
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}

function decimal(text: string): number | null {
  return /^\d{1,15}(\.\d{1,9})?$/.test(text) ? Number(text) : null;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}

function usage(what: string): MigrationError {
  return new MigrationError('usage', what);
}
