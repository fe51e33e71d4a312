/**
 * A process of its own that keeps the rights the agent gives up, and does two things with them: it starts a shepherd
 * for each migration, and finds who knows of an earlier one. It reads nothing of what comes from the network but its id.
 */
import { closeSync } from 'node:fs';
import { native } from '../native/index.js';
import { LocalChannel } from '../shared/protocol/local.js';
import { takeDescriptor } from '../shared/protocol/raw-socket.js';
import { messageDescriptor, startHelper, transferDescriptor } from './child-process.js';
import { knock } from './door.js';
import { type FromSpawner, ToSpawner } from './local-messages.js';

const stateDirectory = process.argv[2]!;
const agent = new LocalChannel<ToSpawner, FromSpawner>(messageDescriptor, {
  schema: ToSpawner,
  peer: 'the agent',
});

agent.onMessage((message) => {
  void answer(message);
});
// Shepherds live on: they are sessions of their own.
agent.onEnd(() => process.exit(0));

async function answer(message: ToSpawner): Promise<void> {
  try {
    agent.send(message.type === 'spawn' ? await start() : await recall(message.migration));
  } catch (error) {
    agent.send({ type: 'failed', what: (error as Error).message.slice(0, 4096) });
  }
}

async function start(): Promise<FromSpawner> {
  const { pid, messages, transfer } = await startHelper('shepherd', [stateDirectory]);
  give(messages, transfer);
  return { type: 'spawned', pid };
}

async function recall(migration: string): Promise<FromSpawner> {
  const shepherd = await knock(stateDirectory, migration);
  if (shepherd) give(takeDescriptor(shepherd, 'the shepherd'));
  else {
    const { messages, transfer } = await startHelper('witness', [stateDirectory, migration]);
    closeSync(transfer);
    give(messages);
  }
  return { type: 'recalled' };
}

function give(...descriptors: number[]): void {
  try {
    native.sendDescriptors(transferDescriptor, descriptors);
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}
