/** `migrate agent` */
import { ExitCode } from '../shared/errors.js';
import { formatAddress } from '../shared/protocol/address.js';
import { productVersion } from '../shared/version.js';
import { Interrupts } from './interrupts.js';
import type { AgentRequest } from './requests.js';
import { namedSecret } from './secret.js';
import type { Terminal } from './terminal.js';

/** Ends with SIGINT, SIGTERM or SIGHUP. What it printed on standard output is one line: where it listens. */
export async function agentCommand(request: AgentRequest, { out, err }: Terminal): Promise<ExitCode> {
  const { listen, secretFile, stateDirectory, allowForce, user } = request;
  const log = (line: string) => err.write(`${new Date().toISOString()} ${line}\n`);
  using interrupts = new Interrupts(
    (name) => log(`${name}: stopping`),
    () => log('already stopping'),
  );
  const secret = namedSecret(secretFile);
  const { serve } = await import('../target-agent/server.js');
  await serve({
    listen,
    secret,
    stateDirectory,
    allowForce,
    log,
    ...(user === undefined ? {} : { user }),
    signal: interrupts.signal,
    onListening: (address) => out.write(`${formatListening(formatAddress(address))}\n`),
  });
  return ExitCode.success;
}

export function formatListening(address: string): string {
  return `godwit ${productVersion} listens on ${address}`;
}

/** The address in a line of formatListening; null for any other line. */
export function parseListening(line: string): string | null {
  return /^godwit \S+ listens on (\S+)$/.exec(line)?.[1] ?? null;
}
