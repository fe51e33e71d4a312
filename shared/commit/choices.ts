/** What a person is told of a hand-over that waits, and what each choice risks: in plain words, for `migrate status`. */
import type { SourceState } from './source-state.js';
import type { TargetState } from './target-side.js';

export interface Choice {
  /** With `alone` the other side is not asked: it may be gone for ever. */
  command: 'resume' | 'abort';
  alone: boolean;
  what: string;
  /** What can go wrong, or null where nothing can. */
  risk: string | null;
}

export interface Situation {
  /** Who has the process, and what is waited for. */
  what: string;
  choices: readonly Choice[];
}

const ask = (command: Choice['command'], what: string): Choice => ({
  command,
  alone: false,
  what,
  risk: null,
});
const alone = (command: Choice['command'], what: string, risk: string): Choice => ({
  command,
  alone: true,
  what,
  risk,
});

/** Null where nobody has to decide anything. */
export function atSource({ at, doubt, gone }: SourceState): Situation | null {
  if (at !== 'committed') return null;
  if (gone) {
    const what =
      'The process has ended here after the hand-over was recorded: the copy on the target is the last.';
    return { what, choices: [ask('resume', 'ask the target again to run it')] };
  }
  if (doubt === 'lost-there') {
    return {
      what: 'The target took the process over and lost it; the copy here stands still as it was at the hand-over.',
      choices: [
        {
          ...ask('abort', 'let the copy here run on'),
          risk: 'What it did on the target in between, to files or to others, is done again or forgotten.',
        },
        { ...ask('resume', 'end the copy here'), risk: 'The process is gone then, on both sides.' },
      ],
    };
  }
  const silent = 'The hand-over is recorded here and the target has not answered: the process stands still.';
  const unknown =
    'The hand-over is recorded here, but the target has no record of it: its state folder is another one, or was emptied.';
  return {
    what: doubt === 'unknown' ? unknown : silent,
    choices: [
      ask('resume', 'ask the target again'),
      ask('abort', 'ask the target to give it back, if it does not run there yet'),
      alone(
        'abort',
        'let the copy here run on',
        'Two copies run if the target has begun to run it: make sure that its host is gone, or that it is not there.',
      ),
      alone(
        'resume',
        'end the copy here',
        'The process is lost if the target never ran it: look there first.',
      ),
    ],
  };
}

/** Null where nobody has to decide anything. */
export function atTarget({ at }: TargetState): Situation | null {
  if (at !== 'prepared') return null;
  return {
    what: 'The process is complete here and held; the source has not said whether it is to run.',
    choices: [
      ask('resume', 'ask the source again'),
      alone(
        'abort',
        'discard the copy here',
        'The process is lost if the source recorded the hand-over and its host has died since.',
      ),
      alone(
        'resume',
        'let the copy here run',
        'Two copies run if the source goes on with its own, as it does when its agent died before it recorded the hand-over.',
      ),
    ],
  };
}
