/** Devices that are the same everywhere and hold no state: null, zero, full, random, urandom (mem(4), null(4)). */

/** Major and minor number of a device, as stat(2) packs them: makedev(3). */
export function deviceNumbers(device: bigint): { major: bigint; minor: bigint } {
  return {
    major: ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn),
    minor: (device & 0xffn) | ((device >> 12n) & ~0xffn),
  };
}

const memoryMajor = 1n;
const memoryMinors: ReadonlySet<bigint> = new Set([3n, 5n, 7n, 8n, 9n]);

export function isMemoryDevice(device: bigint): boolean {
  const { major, minor } = deviceNumbers(device);
  return major === memoryMajor && memoryMinors.has(minor);
}
