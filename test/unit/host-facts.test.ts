import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as v from 'valibot';
import { clocksNow, highestCpu, hostFacts } from '../../shared/host-facts.js';
import { Clocks, HostFacts } from '../../shared/protocol/messages.js';
import { compareClocks } from '../../source-agent/clock-comparison.js';
import { compareHosts, noteHosts } from '../../target-agent/preflight.js';

test('this host can be told, and differs in nothing from itself', () => {
  const [one, two] = [hostFacts(), hostFacts()];
  assert.ok(v.is(HostFacts, one));
  assert.equal(compareHosts(one, two), []);
  assert.equal(noteHosts(one, two), []);
});

test('the time-stamp counter is measured well enough to be compared', () => {
  const [one, two] = [hostFacts().tscKilohertz, hostFacts().tscKilohertz];
  if (one !== null && two !== null) assert.ok(Math.abs(one / two - 1) < 0.0005, `${one} and ${two} kHz`);
});

test('its clocks do not differ from themselves, whenever they are read', () => {
  const [asked, target, answered] = [clocksNow(), clocksNow(), clocksNow()];
  assert.ok(v.is(Clocks, target));
  assert.equal(compareClocks({ asked, target, answered, sameKernel: true }), { blockers: [], notes: [] });
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  assert.ok(Math.abs(Number(asked.boottimeNs) / 1e9 - uptime) < 5);
});

test('lists of CPUs', () => {
  assert.is(highestCpu('0\n'), 0);
  assert.is(highestCpu('0-3\n'), 3);
  assert.is(highestCpu('0-3,8,10-11\n'), 11);
});

test.run();
