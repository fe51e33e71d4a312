/** Colours, where the reader is a person at a terminal who did not say NO_COLOR (no-color.org). */

export interface Styles {
  bold(text: string): string;
  dim(text: string): string;
  good(text: string): string;
  bad(text: string): string;
}

const same = (text: string) => text;

export const plain: Styles = { bold: same, dim: same, good: same, bad: same };

const sgr = (on: number, off: number) => (text: string) => `\x1b[${on}m${text}\x1b[${off}m`;

export const coloured: Styles = { bold: sgr(1, 22), dim: sgr(2, 22), good: sgr(32, 39), bad: sgr(31, 39) };

export function stylesFor(stream: { isTTY?: boolean }, environment: NodeJS.ProcessEnv): Styles {
  const wanted = stream.isTTY === true && !environment.NO_COLOR && environment.TERM !== 'dumb';
  return wanted ? coloured : plain;
}
