/**
 * A process of its own that keeps the rights the agent gives up, and does one thing with them: it starts a shepherd
 * for each migration. It reads nothing of what comes from the network.
 */
import { closeSync } from 'node:fs';
import { native } from '../native/index.js';
import { LocalChannel } from '../shared/protocol/local.js';
import { messageDescriptor, startHelper, transferDescriptor } from './child-process.js';
import { type FromSpawner, ToSpawner } from './local-messages.js';

const stateDirectory = process.argv[2]!;
const agent = new LocalChannel<ToSpawner, FromSpawner>(messageDescriptor, {
  schema: ToSpawner,
  peer: 'the agent',
});

agent.onMessage(() => {
  void start();
});
// Shepherds live on: they are sessions of their own.
agent.onEnd(() => process.exit(0));

async function start(): Promise<void> {
  try {
    const { pid, messages, transfer } = await startHelper('shepherd', [stateDirectory]);
    native.sendDescriptors(transferDescriptor, [messages, transfer]);
    closeSync(messages);
    closeSync(transfer);
    agent.send({ type: 'spawned', pid });
  } catch (error) {
    agent.send({ type: 'failed', what: (error as Error).message.slice(0, 4096) });
  }
}
