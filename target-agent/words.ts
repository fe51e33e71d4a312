/** The hand-over's words as they travel (shared/protocol/messages.ts), and as the state machine has them. */
import type { FromSource as Heard, FromTarget as Told } from '../shared/commit/index.js';
import type { FromSource, FromTarget, HowEnded } from '../shared/protocol/messages.js';

export type Word = Extract<FromSource, { type: 'commit' | 'withdraw' | 'abort' | 'over' }>;

export function isWord(message: { type: string }): message is Word {
  return ['commit', 'withdraw', 'abort', 'over'].includes(message.type);
}

export function heard(word: Word): Heard {
  return word.type === 'commit' ? { type: word.type, epoch: word.epoch } : { type: word.type };
}

/** What a journal says of how the process ended: "exit 3", "signal 9", or nothing. */
export function formatEnding({ code, signal }: HowEnded): string {
  return signal === null ? `exit ${code}` : `signal ${signal}`;
}

/** Null where it says nothing of an end. */
export function parseEnding(detail: string): HowEnded | null {
  const [, how, number] = /^(exit|signal) (\d+)$/.exec(detail) ?? [];
  if (!how) return null;
  return how === 'exit' ? { code: Number(number), signal: null } : { code: null, signal: Number(number) };
}

/** What the state machine does not know of the process. */
export type Particulars = Omit<Extract<FromTarget, { type: 'running' }>, 'type'> & {
  /** Why it never ran. */
  what: string | null;
};

export function messageOf(word: Told, { what, ...particulars }: Particulars): FromTarget {
  const { migration, phases } = particulars;
  switch (word.type) {
    case 'prepared':
      return { type: 'prepared', epoch: word.epoch, phases };
    case 'running':
      return { type: 'running', ...particulars };
    case 'aborted':
      return { type: 'aborted', migration, what };
    default:
      return { type: word.type, migration };
  }
}
