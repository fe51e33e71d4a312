/** Quantities as people read them: three digits, powers of 1000, as `--bandwidth` takes them. */

const byteUnits = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

/** 209715200 -> '210 MB' */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 999.5 would be written as 1000.
  while (value >= 999.5 && unit < byteUnits.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${Math.round(value)} bytes` : `${threeDigits(value)} ${byteUnits[unit]}`;
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** 8.4 -> '8.40 ms', 1840 -> '1.84 s', 123000 -> '2 min 03 s' */
export function formatMs(ms: number): string {
  if (ms < 999.5) return `${ms < 0.005 ? '0' : ms < 1 ? ms.toFixed(2) : threeDigits(ms)} ms`;
  if (ms < 99_950) return `${threeDigits(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`;
}

/** 1 -> '1 page', 2 -> '2 pages' */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function threeDigits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}
