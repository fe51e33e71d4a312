/** Page frames of one session, landed in the skeleton by the addon; compressed ones are unpacked on the way. */
import { closeSync } from 'node:fs';
import { uncompress } from 'lz4-napi';
import { type NativePageReceiver, native, type ReceiveProgress } from '../native/index.js';
import { maxFrameBodyBytes } from '../shared/page-frames.js';
import type { PageChannel } from '../shared/protocol/handshake.js';
import { type AddressRange, flatten } from '../shared/ranges.js';

export class Landing implements Disposable {
  readonly #receiver: NativePageReceiver;

  /** `onBroken`: the channel ended with an error; the migration cannot go on. */
  constructor(channel: PageChannel, onBroken: (error: Error) => void) {
    try {
      this.#receiver = new native.PageReceiver({
        socket: channel.descriptor,
        key: channel.key,
        channel: channel.channel,
        onCompressed: (payload) => {
          this.#unpack(payload).catch(onBroken);
        },
        onEnd: (error) => {
          if (error) onBroken(error);
        },
      });
    } finally {
      closeSync(channel.descriptor); // the receiver has its own
    }
  }

  // lz4-napi trusts the length that stands before the block, so it is checked first.
  async #unpack(payload: Buffer): Promise<void> {
    if (payload.length < 4 || payload.readUInt32LE(0) > maxFrameBodyBytes) {
      throw new Error('a compressed frame claims more than a frame may hold');
    }
    await this.#receiver.land(await uncompress(payload));
  }

  /** Where pages may land from now on. */
  allow(ranges: readonly AddressRange[]): void {
    this.#receiver.setAllowed(flatten(ranges));
  }

  /** Gives the receiver the skeleton's memory; the descriptors are closed here. */
  aim({ memory, userfault }: { memory: number; userfault: number }): void {
    this.#receiver.setTarget(memory, userfault);
    closeSync(memory);
    closeSync(userfault);
  }

  /** No more pages through the userfaultfd: the skeleton is about to be touched by its own calls. */
  closeUserfault(): void {
    this.#receiver.closeUserfault();
  }

  /** Resolves when this many frames have landed since the channel began. */
  landed(frames: number): Promise<ReceiveProgress> {
    return this.#receiver.waitFor(frames);
  }

  [Symbol.dispose](): void {
    this.#receiver.close();
  }
}
