/** /proc/PID/limits: fs/proc/base.c proc_pid_limits(), getrlimit(2). */
import { malformed } from './malformed.js';

export interface ResourceLimit {
  /** RLIMIT_*: the kernel lists them in the order of their numbers. */
  resource: number;
  /** As the kernel names it, for example "Max open files". */
  name: string;
  /** null for unlimited. */
  soft: bigint | null;
  hard: bigint | null;
}

/** Width of the first column, blank behind it included. */
const nameColumns = 26;

export function parseLimits(text: string): ResourceLimit[] {
  const [heading, ...lines] = text.split('\n').filter((line) => line !== '');
  if (!heading?.startsWith('Limit ')) throw malformed('limits', 'no heading');
  return lines.map((line, resource) => {
    const [soft, hard] = line.slice(nameColumns).split(/ +/);
    const name = line.slice(0, nameColumns).trim();
    if (name === '' || soft === undefined || hard === undefined) throw malformed('limits', `"${line}"`);
    return { resource, name, soft: parseValue(soft, line), hard: parseValue(hard, line) };
  });
}

function parseValue(text: string, line: string): bigint | null {
  if (text === 'unlimited') return null;
  if (!/^\d+$/.test(text)) throw malformed('limits', `"${line}"`);
  return BigInt(text);
}
