/**
 * What the two machines of two-machines.test.ts run: "home" starts a program and moves it to the other machine, which
 * moves it back when it is told to. A folder that both see holds the secret and the program's status file.
 *
 *     node to-and-fro.js home|away OWN-ADDRESS OTHER-ADDRESS FOLDER MOVES PROGRAM [OPTION ...]
 *
 * Home ends with 0 when the program went to and fro MOVES times and found nothing wrong with itself.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { ProgramRun } from '../support/programs.js';
import { scaled } from '../support/time.js';
import { command } from '../support/two-hosts.js';

const [role, own, other, folder, moves, program, ...options] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
  string,
  ...string[],
];
const agentPort = 7000;
const controlPort = 7001;
const secretFile = join(folder, 'secret');
/** Both machines give out the same low pids: one from here is free on either. */
const firstPid = 20_000;

interface Answer {
  code: number | null;
  output: string;
}

function startAgent(): ChildProcess {
  const log = openSync(join(folder, `${role}.log`), 'a');
  const given = ['--listen', `${own}:${agentPort}`, '--secret-file', secretFile, '--state-dir', '/tmp/state'];
  const [node, ...main] = command;
  const child = spawn(node!, [...main, 'agent', ...given], { stdio: ['ignore', log, log] });
  closeSync(log);
  return child;
}

function move(pid: number): Promise<Answer> {
  const [node, ...main] = command;
  const state = ['--state-dir', '/tmp/state'];
  const given = [String(pid), `${other}:${agentPort}`, '--json', '--secret-file', secretFile, ...state];
  // Away is the older kernel, home was booted later.
  given.push('--force', role === 'home' ? 'kernel-older' : 'clock-backwards');
  return new Promise((resolve) => {
    const child = execFile(node!, [...main, ...given], (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, output: stderr + stdout }),
    );
  });
}

async function get(path: string): Promise<Answer> {
  const [response] = (await once(request({ host: other, port: controlPort, path }).end(), 'response')) as [
    IncomingMessage,
  ];
  return (await json(response)) as Answer;
}

/** Tells the other machine; it may not have started yet. */
async function ask(path: string): Promise<Answer> {
  for (const deadline = performance.now() + scaled(15_000); ; await sleep(200)) {
    try {
      return await get(path);
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
  }
}

async function away(): Promise<void> {
  console.log('booted');
  const server = createServer(async ({ url = '' }, response) => {
    const pid = /^\/move\/(\d+)$/.exec(url)?.[1];
    const answer: Answer = pid === undefined ? { code: 0, output: url } : await move(Number(pid));
    response.setHeader('connection', 'close');
    response.end(JSON.stringify(answer));
    if (url === '/end') server.close();
  });
  const agent = startAgent();
  server.listen(controlPort, own);
  await once(server, 'close');
  agent.kill();
}

async function home(): Promise<void> {
  const agent = startAgent();
  await ask('/');
  writeFileSync('/proc/sys/kernel/ns_last_pid', String(firstPid));
  using run = await ProgramRun.start(program, { options });
  for (let number = 0; number < Number(moves); number += 1) {
    const { code, output } = number % 2 === 0 ? await move(run.pid) : await ask(`/move/${run.pid}`);
    const result = output.trim().split('\n').at(-1);
    console.log(`move ${number}: ${code === 0 ? result : output}`);
    if (code !== 0) throw new Error(`move ${number} ended with exit code ${code}`);
  }
  const { failures } = await run.check();
  if (failures.length > 0) throw new Error(failures.join('\n'));
  console.log(`${moves} moves`);
  await ask('/end');
  agent.kill();
}

await (role === 'home' ? home() : away());
