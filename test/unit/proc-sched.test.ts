import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseSched } from '../../shared/proc/sched.js';

// Recorded on Linux 6.18 from a program that had called itself "a<newline>nr_switches:9".
const recorded = `a
nr_switches:9 (24289, #threads: 1)
-------------------------------------------------------------------
se.exec_start                                :       2308041.123024
se.vruntime                                  :         11757.312214
se.sum_exec_runtime                          :            32.320192
se.nr_migrations                             :                    0
nr_switches                                  :                   28
nr_voluntary_switches                        :                   24
nr_involuntary_switches                      :                    4
se.load.weight                               :              1048576
policy                                       :                    0
prio                                         :                  120
clock-delta                                  :                   18
current_node=0, numa_group_id=0
`;

test('nanoseconds and sleeps, whatever the task calls itself', () => {
  assert.equal(parseSched(recorded), { execStartNs: 2308041123024n, sleeps: 24 });
});

test('nanoseconds behind the largest double', () => {
  const text = recorded.replace('2308041.123024', '9223372036854.775807');
  assert.is(parseSched(text).execStartNs, 2n ** 63n - 1n);
});

test('a missing or odd field is refused', () => {
  assert.throws(() => parseSched(''), /no se.exec_start/);
  assert.throws(() => parseSched(recorded.replace(/^nr_voluntary.*\n/m, '')), /nr_voluntary_switches/);
  assert.throws(() => parseSched(recorded.replace('2308041.123024', '2308041')), /se.exec_start/);
  assert.throws(() => parseSched(recorded.replace('2308041.123024', '-1.000001')), /se.exec_start/);
});

test.run();
