/** What the moved program does: its memory, and how fast it writes. Given as "MB" or "MB@RATE". */
export interface Load {
  megabytes: number;
  /** MB/s over the window; 0 for idle. */
  rate: number;
}

const windowMegabytes = 64;

/** Throws Error for anything else than whole numbers above 0. */
export function parseLoad(text: string): Load {
  const [, megabytes, rate = '0'] = /^([1-9]\d*)(?:@([1-9]\d*))?$/.exec(text) ?? [];
  if (megabytes === undefined) throw new Error(`--load takes MB or MB@RATE, not "${text}"`);
  return { megabytes: Number(megabytes), rate: Number(rate) };
}

export function formatLoad({ megabytes, rate }: Load): string {
  const size = megabytes >= 1024 ? `${megabytes / 1024} GiB` : `${megabytes} MiB`;
  return rate === 0 ? `${size}, idle` : `${size}, ${rate} MB/s over ${windowOf(megabytes)} MiB`;
}

/**
 * Options of test/programs/writer.c. By the wall clock: CRIU restores a process into a time namespace in which the
 * monotonic clock stood still meanwhile, so that it would show a gap far too short.
 */
export function writerOptions({ megabytes, rate }: Load): string[] {
  const writes = rate === 0 ? [] : ['--rate', String(rate), '--window', String(windowOf(megabytes))];
  // Gaps below 2 ms are of no interest here, and in a virtual machine there are too many to keep.
  return ['--wall', '--gap', '2000', '--mb', String(megabytes), ...writes];
}

function windowOf(megabytes: number): number {
  return Math.min(windowMegabytes, megabytes);
}
