// time limit: 1800 s
/** Debian's 6.12: soft-dirty bits, and userfaultfd's asynchronous write protection. */
import { test } from 'uvu';
import { testKernel } from './kernel-suite.js';

await testKernel('6.12', {
  usual: ['native/', 'source/'],
  nightly: ['native/', 'source/', 'migrate/'],
  limitSeconds: 1200,
});

test.run();
