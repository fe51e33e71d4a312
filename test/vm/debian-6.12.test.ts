// time limit: 21700 s
/** Debian's 6.12: soft-dirty bits, and userfaultfd's asynchronous write protection. */
import { test } from 'uvu';
import { testKernel } from './kernel-suite.js';

await testKernel('6.12');

test.run();
