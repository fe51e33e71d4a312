/** What a shepherd says to an offer: everything that stands in its way on this host, perhaps after comparing contents. */
import { type Blocker, MigrationError } from '../shared/errors.js';
import { sortOut } from '../shared/force.js';
import type { FromSource, FromTarget } from '../shared/protocol/messages.js';
import { ownVdso } from '../shared/vdso.js';
import { compareFiles, compareIdentities, compareVdso, identify, withinLimit } from './preflight.js';
import { detectShortages } from './shortages.js';

type Message<Type extends FromSource['type']> = Extract<FromSource, { type: Type }>;
type Verdict = Extract<FromTarget, { type: 'verdict' }>;
type Answer = Extract<FromTarget, { type: 'verdict' | 'identify' }>;

/** Comparing less than this is not worth a word. */
const mentionedBytes = 256n << 20n;
const longestText = 4096;

interface Comparison {
  /** What stands in the way already. */
  found: readonly Blocker[];
  compared: ReturnType<typeof withinLimit>['compared'];
  bytes: bigint;
  identities: ReturnType<typeof identify>;
  startedMs: number;
}

export class Judgement {
  /** Paths of files that differ here, which was forced. */
  readonly acceptedFiles = new Set<string>();
  /** Files whose contents the source has yet to tell. */
  #comparison: Comparison | undefined;
  #accepted = false;

  constructor(
    readonly offer: Message<'offer'>,
    private readonly sameKernel: boolean,
    private readonly stateDirectory: string,
  ) {}

  get accepted(): boolean {
    return this.#accepted;
  }

  /** The verdict, or what the source has to tell for that. */
  consider(): Answer {
    const { offer } = this;
    const { blockers, unsure } = compareFiles(offer.files, this.sameKernel, offer.compareContents);
    const { compared, bytes, blockers: beyond } = withinLimit(unsure, offer.compareContents);
    const found = [
      ...detectShortages(offer, this.stateDirectory),
      ...compareVdso(offer, ownVdso()),
      ...blockers,
      ...beyond,
    ];
    if (compared.length === 0) return this.#judge(found, []);
    // Both hosts read at the same time.
    const identities = identify(compared, offer.compareContents);
    this.#comparison = { found, compared, bytes, identities, startedMs: performance.now() };
    return { type: 'identify', paths: compared.map(({ path }) => path) };
  }

  /** Throws MigrationError 'protocol-violation' where nothing was asked. */
  async compare({ files }: Message<'identities'>): Promise<Verdict> {
    const comparison = this.#comparison;
    this.#comparison = undefined;
    if (!comparison) throw new MigrationError('protocol-violation', 'no contents were asked for');
    const { found, compared, bytes, identities, startedMs } = comparison;
    const told = new Map(files.map(({ path, identity }) => [path, identity]));
    const blockers = [...found, ...compareIdentities(compared, await identities, told)];
    const seconds = (performance.now() - startedMs) / 1000;
    const note = `${bytes >> 20n} MiB of files were compared in ${seconds.toFixed(1)} s`;
    return this.#judge(blockers, bytes >= mentionedBytes ? [note] : []);
  }

  #judge(found: readonly Blocker[], notes: string[]): Verdict {
    const { check, force } = this.offer;
    const { blockers, forced } = sortOut(found, force);
    for (const { code, object } of forced) if (code.startsWith('file-')) this.acceptedFiles.add(object!);
    this.#accepted = blockers.length === 0 && !check;
    return { type: 'verdict', blockers: blockers.map(sayable), forced: forced.map(sayable), notes };
  }
}

/** With the length that messages may have: a path alone can be as long. */
function sayable({ what, ...blocker }: Blocker) {
  return { ...blocker, what: what.slice(0, longestText), phase: 'preflight' };
}
