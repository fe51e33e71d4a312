/** The lines of the demo's program, and whether they show one program that went on. */

export interface CounterLine {
  count: number;
  pid: number;
}

/** null for anything but a line of the counter. */
export function parseCounterLine(text: string): CounterLine | null {
  const match = /^count (\d+) {2}pid (\d+) {2}checksum [0-9a-f]{8}$/.exec(text);
  return match && { count: Number(match[1]), pid: Number(match[2]) };
}

/** Fewer lines than these after the move could be what was written before it. */
const fewestAfter = 3;

/** What is wrong with what the program printed before and after its move; null where it went on without a gap. */
export function findGap(before: readonly string[], after: readonly string[]): string | null {
  if (before.length === 0) return 'the program printed nothing before the move';
  if (after.length < fewestAfter) return `the program printed ${after.length} lines after the move`;
  let last: CounterLine | null = null;
  for (const text of [...before, ...after]) {
    const line = parseCounterLine(text);
    if (!line) return `the program printed ${JSON.stringify(text)}`;
    if (last && line.count !== last.count + 1) return `count ${last.count} was followed by ${line.count}`;
    if (last && line.pid !== last.pid) return `pid ${last.pid} became ${line.pid}`;
    last = line;
  }
  return null;
}
