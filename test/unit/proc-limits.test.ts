import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseLimits } from '../../shared/proc/limits.js';

// Recorded on Linux 6.18.
const recorded = `Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max file size             unlimited            unlimited            bytes     
Max data size             unlimited            unlimited            bytes     
Max stack size            8388608              unlimited            bytes     
Max core file size        0                    unlimited            bytes     
Max resident set          unlimited            unlimited            bytes     
Max processes             96365                96365                processes 
Max open files            20000                20000                files     
Max locked memory         8388608              8388608              bytes     
Max address space         unlimited            unlimited            bytes     
Max file locks            unlimited            unlimited            locks     
Max pending signals       96365                96365                signals   
Max msgqueue size         819200               819200               bytes     
Max nice priority         0                    0                    
Max realtime priority     0                    0                    
Max realtime timeout      unlimited            unlimited            us        
`;

test('all sixteen, by number', () => {
  const limits = parseLimits(recorded);
  assert.is(limits.length, 16);
  assert.equal(limits[3], { resource: 3, name: 'Max stack size', soft: 8388608n, hard: null });
  assert.equal(limits[7], { resource: 7, name: 'Max open files', soft: 20000n, hard: 20000n });
  assert.equal(limits[13], { resource: 13, name: 'Max nice priority', soft: 0n, hard: 0n });
  assert.equal(limits[15], { resource: 15, name: 'Max realtime timeout', soft: null, hard: null });
});

test('a value that fills its column and more', () => {
  const text = recorded.replace(
    '8388608              unlimited',
    '18446744073709551614 18446744073709551613',
  );
  assert.equal(parseLimits(text)[3], {
    resource: 3,
    name: 'Max stack size',
    soft: 2n ** 64n - 2n,
    hard: 2n ** 64n - 3n,
  });
});

test('odd text is refused', () => {
  assert.throws(() => parseLimits(''), /no heading/);
  assert.throws(() => parseLimits(recorded.replace('20000', 'plenty')), /Max open files/);
  assert.throws(() => parseLimits(`${recorded}Max\n`), /"Max"/);
});

test.run();
