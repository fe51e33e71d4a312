/** No tracking at all: stop and copy. Nothing is sent in rounds; the freeze carries every page with content. */
import { native, ScanMode } from '../../native/index.js';
import { flatten } from '../../shared/ranges.js';
import type { TrackedMapping } from '../layout.js';
import type { SourceProcess } from '../source-process.js';
import type { Collected, FinalCollected, Tracker } from './index.js';
import { withoutEmpty } from './populated.js';
import { runsOf } from './runs.js';

const nothing = new BigUint64Array(0);

export class NoTracker implements Tracker {
  readonly name = 'none';
  #mappings: readonly TrackedMapping[] = [];

  constructor(
    readonly process: SourceProcess,
    readonly threads: number,
  ) {}

  watch(mappings: readonly TrackedMapping[]): void {
    this.#mappings = mappings;
  }

  async collect(): Promise<Collected> {
    return { runs: nothing, replaced: [] };
  }

  async collectFinal(): Promise<FinalCollected> {
    const { populated } = withoutEmpty(this.process, this.#mappings);
    const scan = async (anonymous: boolean) => {
      const spans = flatten(populated.filter((mapping) => mapping.anonymous === anonymous));
      const { pagemap } = this.process;
      return (await native.scanPagesAsync(pagemap, spans, ScanMode.content, this.threads)).pages;
    };
    const [anonymous, file] = await Promise.all([scan(true), scan(false)]);
    return { runs: runsOf(anonymous, file), replaced: [], dropped: nothing };
  }

  forget(): void {}

  close(): void {}
}
