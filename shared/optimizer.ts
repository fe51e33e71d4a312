/**
 * V8's optimizing compiler, which works beside the program as soon as a function has run often enough. In a freeze,
 * where that comes about by all the rehearsing, it takes a CPU that somebody waits for (measured on two CPUs: 1 ms).
 */
import v8 from 'node:v8';

let pauses = 0;

/** Nothing more is handed to the optimizer until this and all other pauses are disposed of. */
export function pauseOptimizer(): Disposable {
  let over = false;
  pauses += 1;
  if (pauses === 1) v8.setFlagsFromString('--no-turbofan');
  return {
    [Symbol.dispose]: () => {
      if (over) return;
      over = true;
      pauses -= 1;
      if (pauses === 0) v8.setFlagsFromString('--turbofan');
    },
  };
}
