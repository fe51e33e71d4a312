/**
 * What the skeleton's epoll instances watch. A watch refers to the open file description that was behind its number
 * when it was made (epoll_ctl(2)), so a number that changes hands is left before and joined again after.
 */
import { CallBatch } from '../shared/injection/batch.js';
import type { Description } from '../shared/state/files.js';
import type { Skeleton } from './skeleton.js';

type Watch = Extract<Description, { kind: 'epoll' }>['watches'][number];

const epollCtl = 233;
const control = { add: 1, del: 2 } as const;
/** struct epoll_event, packed on x86-64; in the scratch memory each has 16 bytes. */
const eventBytes = 12;
const eventsAtOnce = 1024;

export class EpollWatches {
  /** By descriptor: events and data of each watch that is in force. */
  readonly #inForce = new Map<number, string>();

  constructor(private readonly skeleton: Skeleton) {}

  /** Removes what is not wanted any more and what is about to change hands. `instance` is its number. */
  leave(instance: number, wanted: readonly Watch[], changing: ReadonlySet<number>): void {
    const due = new Map(wanted.map((watch) => [watch.fd, keyOf(watch)]));
    const batch = new CallBatch();
    for (const [fd, key] of this.#inForce) {
      if (due.get(fd) === key && !changing.has(fd)) continue;
      batch.add('epoll_ctl', epollCtl, instance, control.del, fd, 0);
      this.#inForce.delete(fd);
    }
    this.skeleton.run(batch);
    batch.check();
  }

  /** Adds what is wanted and not in force. */
  join(instance: number, wanted: readonly Watch[]): void {
    const missing = wanted.filter(({ fd }) => !this.#inForce.has(fd));
    for (let first = 0; first < missing.length; first += eventsAtOnce) {
      const watches = missing.slice(first, first + eventsAtOnce);
      const events = Buffer.alloc(watches.length * 16);
      watches.forEach(({ events: mask, data }, i) => {
        events.writeUInt32LE(mask, i * 16);
        events.writeBigUInt64LE(data, i * 16 + eventBytes - 8);
      });
      const at = this.skeleton.put(events);
      const batch = new CallBatch();
      watches.forEach((watch, i) => {
        batch.add('epoll_ctl', epollCtl, instance, control.add, watch.fd, at + BigInt(i * 16));
        this.#inForce.set(watch.fd, keyOf(watch));
      });
      this.skeleton.run(batch);
      batch.check();
    }
  }
}

function keyOf({ events, data }: Watch): string {
  return `${events}:${data}`;
}
