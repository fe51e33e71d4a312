// time limit: 21700 s
/** Debian's 6.1: soft-dirty bits alone. */
import { test } from 'uvu';
import { testKernel } from './kernel-suite.js';

await testKernel('6.1');

test.run();
