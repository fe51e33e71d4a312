/**
 * A target agent on a host that differs: `node differing-agent.js DIFFERENCE agent --listen ...`. DIFFERENCE is JSON;
 * only what the host tells of itself is made up.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { formatListening } from '../../cli/agent.js';
import { parseForces } from '../../cli/values.js';
import { clocksNow, hostFacts } from '../../shared/host-facts.js';
import { formatAddress, parseAddress } from '../../shared/protocol/address.js';
import type { HostFacts } from '../../shared/protocol/messages.js';
import { parseSecret } from '../../shared/secret.js';
import { serve } from '../../target-agent/server.js';

export interface Difference {
  facts?: Partial<HostFacts>;
  wallClockAheadSeconds?: number;
  /** --allow-force */
  allow?: string;
}

/** The command that stands for `migrate` where the target agent is started. */
export function differingAgent(difference: Difference): string[] {
  return [process.execPath, fileURLToPath(import.meta.url), JSON.stringify(difference)];
}

async function run(given: Difference, argv: readonly string[]): Promise<void> {
  const option = (name: string) => argv[argv.indexOf(name) + 1]!;
  const secretFile = option('--secret-file');
  const stop = new AbortController();
  process.once('SIGTERM', () => stop.abort());
  const ahead = BigInt(given.wallClockAheadSeconds ?? 0) * 1_000_000_000n;
  const clocks = () => {
    const now = clocksNow();
    return { ...now, realtimeNs: now.realtimeNs + ahead };
  };
  await serve({
    listen: parseAddress(option('--listen')),
    secret: parseSecret(readFileSync(secretFile, 'utf8'), secretFile),
    stateDirectory: option('--state-dir'),
    allowForce: parseForces('--allow-force', given.allow ?? 'all'),
    host: { facts: { ...hostFacts(), ...given.facts }, clocks },
    log: (line) => process.stderr.write(`${line}\n`),
    signal: stop.signal,
    onListening: (address) => process.stdout.write(`${formatListening(formatAddress(address))}\n`),
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await run(JSON.parse(process.argv[2]!), process.argv.slice(3));
}
