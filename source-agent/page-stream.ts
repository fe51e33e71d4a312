/** The pages' way out: a page channel of the session, fed by the addon; compressed where that is asked for. */
import { closeSync } from 'node:fs';
import { compress } from 'lz4-napi';
import { type NativePageSender, type NativeSentPages, native, type SendResult } from '../native/index.js';
import type { PageChannel } from '../shared/protocol/handshake.js';
import type { SourceProcess } from './source-process.js';

/** Compression pays where the link is slower than this: bytes a second (measured: LZ4 of this kind runs at about 0.3 GB/s). */
const slowLink = 100e6;

export class PageStream implements Disposable {
  readonly #sender: NativePageSender;
  #compressing: boolean;

  constructor(
    private readonly process: SourceProcess,
    channel: PageChannel,
    private readonly sent: NativeSentPages,
    private readonly options: { bandwidth: number; compress: 'auto' | 'always' | 'never' },
  ) {
    try {
      this.#sender = new native.PageSender({
        socket: channel.descriptor,
        key: channel.key,
        channel: channel.channel,
        bandwidth: options.bandwidth,
      });
    } finally {
      closeSync(channel.descriptor); // the sender has its own
    }
    const limited = options.bandwidth > 0 && options.bandwidth < slowLink;
    this.#compressing = options.compress === 'always' || (options.compress === 'auto' && limited);
  }

  /** Frames sent so far: what the target waits for. */
  get frames(): number {
    return this.#sender.frames;
  }

  /** Tells what the link has shown, so that `auto` can choose. */
  measured(bytesPerSecond: number): void {
    if (this.options.compress === 'auto') this.#compressing = bytesPerSecond < slowLink;
  }

  /** Sends runs of pages ([start, end, RunFlag] triples). Nothing is compressed in the freeze: it costs more than it saves there. */
  async send(runs: BigUint64Array, frozen = false): Promise<SendResult> {
    const request = { pid: this.process.pid, memory: this.process.memory, runs, sent: this.sent };
    if (frozen || !this.#compressing) return this.#sender.send(request);
    const { payloads, result } = await this.#sender.gather(request);
    for (const payload of payloads) {
      const { wireBytes, busyMs } = await this.#sender.sendCompressed(await compress(payload));
      result.wireBytes += wireBytes;
      result.busyMs += busyMs;
      result.frames += 1;
    }
    return result;
  }

  [Symbol.dispose](): void {
    this.#sender.close();
  }
}
