/** Starting the target's own helper processes: detached, with two sockets each, one for messages and one for descriptors. */
import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { native } from '../native/index.js';
import { eagerCode } from '../shared/eager-code.js';

/** The numbers under which a helper finds its ends. */
export const messageDescriptor = 3;
export const transferDescriptor = 4;

export interface Helper {
  pid: number;
  /** Our ends. */
  messages: number;
  transfer: number;
}

/** Its output goes where ours goes. */
export function startHelper(name: 'spawner' | 'shepherd' | 'witness', given: string[]): Promise<Helper> {
  const [messages, theirMessages] = native.socketPair();
  const [transfer, theirTransfer] = native.socketPair();
  const program = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  const child = spawn(process.execPath, [...eagerCode, program, ...given], {
    // A session of its own: what ends the agent's terminal or group must not end it.
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', theirMessages, theirTransfer],
  });
  child.unref();
  closeSync(theirMessages);
  closeSync(theirTransfer);
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve({ pid: child.pid!, messages, transfer }));
    child.once('error', (error) => {
      closeSync(messages);
      closeSync(transfer);
      reject(error);
    });
  });
}
