// time limit: 300 s
/**
 * Peers that hold the secret and break the rules. Whatever they say, the agent answers `failed` or ends the session,
 * is there for the next one, and nothing of theirs stays behind.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { clocksNow, hostFacts } from '../../shared/host-facts.js';
import type { Description } from '../../shared/state/files.js';
import { pack } from '../../shared/state/packed.js';
import {
  innerPid,
  memory,
  modestMappings,
  modestOffer,
  modestState,
  modestVdso,
  othersAfter,
  Peer,
  processesOf,
} from '../support/peer.js';
import { TwoHosts } from '../support/two-hosts.js';
import { mapping } from '../unit/support/mappings.js';
import { fromSource } from '../unit/support/messages.js';

const peers = suite('hostile peers');
const hello = { type: 'hello', host: hostFacts(), clocks: clocksNow() } as const;
let hosts: TwoHosts;
/** What runs on the target when nobody is there. */
let quiet: string[];

peers.before(async () => {
  hosts = await TwoHosts.start();
  quiet = processesOf(hosts);
});
peers.after(() => hosts[Symbol.asyncDispose]());

/** One peer's doing, and what must be true afterwards. */
function hostile(name: string, act: (peer: Peer) => Promise<void>): void {
  peers(name, async () => {
    const peer = await Peer.connect(hosts);
    try {
      await act(peer);
    } finally {
      await peer[Symbol.asyncDispose]();
      await peer.takeBack(hosts);
    }
    assert.equal(await othersAfter(hosts, quiet), [], 'something stays behind');
    await using next = await Peer.connect(hosts);
    assert.is((await next.ask(hello)).type, 'hello', 'the agent is gone');
  });
}

/** The end of this peer's session, or a message that says that nothing came of it. */
async function assertRefused(peer: Peer, message: unknown, text = /./): Promise<void> {
  const answer = await peer.ask(message);
  assert.ok(answer.type === 'failed' || answer.type === 'ended', `"${answer.type}" was answered`);
  assert.match((answer as { what: string }).what, text);
}

const build = (change: Partial<ReturnType<typeof modestState>> = {}, mappings = modestMappings()) => ({
  type: 'build',
  mappings,
  state: { ...modestState(), ...change },
});
const settle = (state = {}) => ({ type: 'settle', frames: 0, state, huge: [] });
const finish = (change = {}) => ({
  type: 'finish',
  epoch: 1,
  state: null,
  frames: 0,
  dropped: [],
  guards: [],
  changedFiles: [],
  vdso: null,
  ...change,
});
const adjust = (state = {}) => ({ type: 'adjust', state: pack(state) });
const rehearse = () => {
  const { epoch: _, ...rest } = finish();
  return { ...rest, type: 'rehearse', state: {} };
};
const commit = () => fromSource().commit;

for (const [type, message] of Object.entries(fromSource())) {
  if (type === 'hello') continue;
  hostile(`${type} as the first word`, (peer) => assertRefused(peer, message));
}

hostile('an offer, and gone before anybody can build', async (peer) => {
  await peer.walk([hello, 'hello']);
  peer.say(modestOffer());
});

hostile('an offer twice', async (peer) => {
  await peer.walk([hello, 'hello'], [modestOffer(), 'verdict']);
  await assertRefused(peer, modestOffer(), /not due/);
});

for (const message of [commit(), { type: 'layout', splices: [] }, settle(), adjust(), finish(), rehearse()]) {
  hostile(`${message.type} right after the offer`, async (peer) => {
    await peer.introduce();
    await assertRefused(peer, message, /nothing (has been built|is prepared)/);
  });
}

hostile('a build in spite of the verdict', async (peer) => {
  await peer.introduce({ needs: { ...modestOffer().needs, privateBytes: 2 ** 52 } });
  await assertRefused(peer, build(), /offer was (not )?accepted/);
});

hostile('a build after a mere question', async (peer) => {
  await peer.introduce({ check: true });
  await assertRefused(peer, build(), /offer was (not )?accepted/);
});

hostile('a build twice', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built']);
  await assertRefused(peer, build());
});

hostile('silence after the build', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built']);
});

for (const message of [commit(), finish(), rehearse()]) {
  hostile(`${message.type} right after the build`, async (peer) => {
    await peer.introduce();
    await peer.walk([build(), 'built']);
    await assertRefused(peer, message, /not due|not prepared/);
  });
}

hostile('differences before anything is settled', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built']);
  peer.say(adjust());
  await assertRefused(peer, finish(), /not due/);
});

hostile('differences twice', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built'], [settle(), 'settled']);
  await peer.walk([adjust(), null], [adjust(), null]);
  await assertRefused(peer, finish(), /not due/);
});

hostile('differences that are no state', async (peer) => {
  await peer.introduce();
  await peer.walk(
    [build(), 'built'],
    [settle(), 'settled'],
    [{ type: 'adjust', state: Uint8Array.of(0x81, 0xa1, 0x78, 0xc1) }, null],
  );
  await assertRefused(peer, finish(), /a state that is none/);
});

hostile('overlapping mappings', async (peer) => {
  await peer.introduce();
  const mappings = [memory, mapping(0x10004, 2), ...modestMappings().slice(1)];
  await assertRefused(peer, build({}, mappings), /overlap/);
});

hostile('mappings that leave no room for a stub', async (peer) => {
  await peer.introduce();
  const everything = { ...memory, end: 0x7f0000000000n, noReserve: true, protection: 0 };
  await assertRefused(peer, build({}, [everything, ...modestMappings().slice(1)]), /no free range/);
});

hostile('kernel mappings of another shape', async (peer) => {
  await peer.introduce();
  await assertRefused(peer, build({}, [memory]), /mappings differ/);
});

hostile('a mapping right over the stub', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built']);
  // Most of the largest hole, and its middle with it: the stub has to move.
  const wide = { ...memory, start: 0x300000000000n, end: 0x480000000000n, noReserve: true, protection: 0 };
  await peer.walk(
    [{ type: 'layout', splices: [{ at: 1, remove: 0, insert: [wide] }] }, 'applied'],
    [{ type: 'layout', splices: [{ at: 1, remove: 1, insert: [] }] }, 'applied'],
  );
});

hostile('a change of mappings that are not there', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built']);
  await assertRefused(
    peer,
    { type: 'layout', splices: [{ at: 1000, remove: 1, insert: [] }] },
    /no mappings/,
  );
});

hostile('a mapping over another', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built']);
  await assertRefused(peer, { type: 'layout', splices: [{ at: 1, remove: 0, insert: [memory] }] }, /overlap/);
});

/** The same code, said to be of a kernel that nobody knows. */
const foreignVdso = () => ({ ...modestVdso(), kernel: 'f'.repeat(64) });

hostile("a mapping right over this kernel's own, which are out of the way", async (peer) => {
  await peer.introduce({ vdso: foreignVdso() });
  await peer.walk([build(), 'built']);
  const holes = [
    [0x1000000000n, 0x3fff00000000n],
    [0x3fff80000000n, 0x7e0000000000n],
  ];
  let inserted = 0;
  for (const [start, end] of holes) {
    const wide = { ...memory, start: start!, end: end!, noReserve: true, protection: 0 };
    await peer.walk([{ type: 'layout', splices: [{ at: 1, remove: inserted, insert: [wide] }] }, 'applied']);
    inserted = 1;
  }
  await peer.walk(
    [{ type: 'layout', splices: [{ at: 1, remove: 1, insert: [] }] }, 'applied'],
    [settle(), 'settled'],
    [adjust(), null],
    [finish(), 'prepared'],
  );
});

hostile('a foreign vdso that is not mapped', async (peer) => {
  await peer.introduce({ vdso: { ...foreignVdso(), start: 0x5000n } });
  await assertRefused(peer, build(), /not mapped/);
});

hostile('a foreign vdso that is no image', async (peer) => {
  await peer.introduce({ vdso: { ...foreignVdso(), image: Buffer.alloc(4096) } });
  await assertRefused(peer, build(), /offer was (not )?accepted/);
});

hostile("another kernel's data in the place of the program's", async (peer) => {
  await peer.introduce({ vdso: foreignVdso() });
  await peer.walk([build(), 'built'], [settle(), 'settled'], [adjust(), null]);
  const vdso = { memory: [{ start: memory.start, bytes: Buffer.alloc(4096) }], timeStamp: 0n };
  await assertRefused(peer, finish({ vdso }), /EEXIST|exists/);
});

hostile('a page outside of all mappings', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built']);
  await peer.sendForeignPage();
  const answer = await peer.next();
  assert.ok(answer.type === 'failed' || answer.type === 'ended', answer.type);
});

hostile('frames that never come', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built']);
  peer.say({ type: 'round', number: 0, frames: Number.MAX_SAFE_INTEGER });
  await sleep(100);
});

hostile('half a million descriptors', async (peer) => {
  await peer.introduce();
  const descriptors = Array.from({ length: 500_000 }, (_, i) => ({
    fd: i,
    description: 0,
    closeOnExec: false,
  }));
  const descriptions: Description[] = [{ kind: 'device', path: '/dev/null', flags: 2 }];
  await assertRefused(peer, build({ files: { descriptions, descriptors } }));
});

hostile('more values than a message may have', async (peer) => {
  await peer.introduce();
  const descriptors = Array.from({ length: 1_000_000 }, (_, i) => ({
    fd: i,
    description: 0,
    closeOnExec: false,
  }));
  await assertRefused(peer, build({ files: { descriptions: [], descriptors } }), /more than/);
});

hostile('ids that belong to others', async (peer) => {
  await peer.introduce();
  const { process } = modestState();
  await assertRefused(peer, build({ process: { ...process, pid: 1 } }), /in use/);
});

for (const [what, description, text] of [
  [
    'a fifo or device in the place of a file',
    { kind: 'file', path: '/dev/zero', flags: 0, position: 0n, stamp: fromSource().offer.files[0]!.stamp },
    /no regular file/,
  ],
  [
    'a file in the place of a device',
    { kind: 'device', path: '/etc/passwd', flags: 0o1002 },
    /no such device|memory device/,
  ],
  ['a pipe that is not there', { kind: 'pipe', pipe: 7, end: 'read', flags: 0 }, /not there/],
] as [string, Description, RegExp][]) {
  hostile(what, async (peer) => {
    await peer.introduce();
    await peer.walk([build(), 'built']);
    const files = {
      descriptions: [description],
      descriptors: [{ fd: 3, description: 0, closeOnExec: false }],
    };
    await assertRefused(peer, settle({ files }), text);
  });
}

hostile('a pipe with more in it than it holds', async (peer) => {
  await peer.introduce();
  const pipe = (end: 'read' | 'write'): Description => ({
    kind: 'pipe',
    pipe: 0,
    end,
    flags: end === 'read' ? 0 : 1,
  });
  const files = {
    descriptions: [pipe('read'), pipe('write')],
    descriptors: [0, 1].map((description) => ({ fd: 5 + description, description, closeOnExec: false })),
  };
  await peer.walk(
    [build(), 'built'],
    [settle({ files, pipes: [{ capacity: 4096, content: new Uint8Array(0) }] }), 'settled'],
  );
  peer.say(adjust({ pipes: [{ capacity: 4096, content: new Uint8Array(1 << 20) }] }));
  await assertRefused(peer, finish(), /pipe/);
});

hostile('a layout when all is prepared', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built'], [settle(), 'settled'], [adjust(), null], [finish(), 'prepared']);
  await assertRefused(peer, { type: 'layout', splices: [{ at: 0, remove: 0, insert: [] }] });
});

hostile('silence where the decision is due', async (peer) => {
  await peer.introduce();
  await peer.walk([build(), 'built'], [settle(), 'settled'], [adjust(), null], [finish(), 'prepared']);
});

peers('an abort after the decision comes too late', async () => {
  {
    await using peer = await Peer.connect(hosts);
    await peer.introduce();
    await peer.walk(
      [build(), 'built'],
      [settle(), 'settled'],
      [adjust(), null],
      [finish(), 'prepared'],
      [peer.commit(), 'running'],
    );
    for (const message of [peer.abort(), { type: 'layout', splices: [] }, finish()]) peer.say(message);
    await sleep(300);
    assert.ok(hosts.target.find(innerPid), 'it was ended');
    assert.is(hosts.target.find(innerPid)!.parent.name, 'node', 'nobody watches over it');
  }
  await sleep(300);
  assert.is(hosts.target.find(innerPid)?.parent.name, 'node', 'it ended with its session');
  assert.ok(hosts.killOnTarget(innerPid));
  assert.equal(await othersAfter(hosts, quiet), []);
});

peers.run();
