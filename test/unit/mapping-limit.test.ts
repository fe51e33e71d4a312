import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { detectMappingLimit, judgeMappings } from '../../target-agent/mapping-limit.js';

test('a process with more mappings than this host allows is refused', () => {
  assert.equal(judgeMappings(65_000, 65_530), []);
  const [blocker] = judgeMappings(65_000, 65_000);
  assert.is(blocker!.code, 'no-memory');
  assert.match(blocker!.what, /65000 mappings, and vm.max_map_count allows 65000/);
});

test('this host allows some', () => {
  assert.equal(detectMappingLimit(100), []);
  assert.is(detectMappingLimit(2 ** 40).length, 1);
});

test.run();
