/** An agent that holds a program until it is killed: `node holder.js PID`; it says so when it has stopped it. */
import { hold } from '../support/held.js';

hold(Number(process.argv[2]), () => {
  console.log('holding');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
