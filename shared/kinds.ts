/**
 * The kinds of kernel objects that a migration carries, each declared once. A kind has the same name in
 * source-agent/capture/, shared/state/ and target-agent/restore/. The wire number never changes and is never used
 * again; the order of restoring follows from `after`.
 */
export const kinds = {
  process: { number: 1, after: [] },
  hostname: { number: 2, after: ['process'] },
  files: { number: 3, after: ['process'] },
  pipes: { number: 4, after: ['files'] },
  directories: { number: 5, after: ['files'] },
  memory: { number: 6, after: ['files'] },
  limits: { number: 7, after: ['memory', 'files', 'pipes'] },
  threads: { number: 8, after: ['memory'] },
  signals: { number: 9, after: ['threads'] },
  timers: { number: 10, after: ['signals'] },
  credentials: { number: 11, after: ['directories', 'hostname', 'limits', 'timers'] },
} as const satisfies Record<string, { number: number; after: readonly string[] }>;

export type Kind = keyof typeof kinds;

/** All kinds such that each comes after those it needs. Throws where the declarations contradict each other. */
export function kindsInOrder(declared: Record<string, { after: readonly string[] }> = kinds): Kind[] {
  const order: string[] = [];
  const visit = (name: string, path: readonly string[]): void => {
    if (order.includes(name)) return;
    if (path.includes(name)) throw new Error(`kinds wait for each other: ${[...path, name].join(' -> ')}`);
    for (const before of declared[name]?.after ?? []) visit(before, [...path, name]);
    order.push(name);
  };
  for (const name of Object.keys(declared)) visit(name, []);
  return order as Kind[];
}
