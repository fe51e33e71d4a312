// time limit: 1800 s
/** Debian's 6.1: soft-dirty bits alone. */
import { test } from 'uvu';
import { testKernel } from './kernel-suite.js';

await testKernel('6.1', {
  usual: ['native/', 'source/'],
  nightly: ['native/', 'source/', 'migrate/'],
  limitSeconds: 1200,
});

test.run();
