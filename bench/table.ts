/** Tables of plain text: names to the left, figures to the right. */

export type Cell = string | number;

/** Columns as wide as they need to be; the first to the left, the others to the right. No line ends in blanks. */
export function formatTable(headers: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const lines = [headers, ...rows.map((row) => row.map(formatCell))];
  const widths = headers.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  const format = (line: readonly string[]) =>
    widths
      .map((width, column) => {
        const text = line[column] ?? '';
        return column === 0 ? text.padEnd(width) : text.padStart(width);
      })
      .join('  ')
      .trimEnd();
  const [first, ...others] = lines.map(format);
  const rule = widths.map((width) => '-'.repeat(width)).join('  ');
  return [first, rule, ...others].join('\n');
}

/** Three digits or more; a negative zero is none. */
export function formatCell(cell: Cell): string {
  if (typeof cell === 'string') return cell;
  const size = Math.abs(cell);
  const text = cell.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
  return /^-[0.]+$/.test(text) ? text.slice(1) : text;
}

/** What was to be reached, what was, and whether it is enough. */
export interface Goal {
  what: string;
  unit: string;
  /** At most this, or at least that. */
  bound: 'most' | 'least';
  reach: number;
  measured: number;
}

export function isMet({ bound, reach, measured }: Goal): boolean {
  return bound === 'most' ? measured <= reach : measured >= reach;
}

export function formatGoals(goals: readonly Goal[]): string {
  return formatTable(
    ['goal', 'measured', 'to reach', ''],
    goals.map((goal) => [
      `${goal.what}, ${goal.unit}`,
      goal.measured,
      `at ${goal.bound} ${formatCell(goal.reach)}`,
      isMet(goal) ? 'reached' : 'missed',
    ]),
  );
}
