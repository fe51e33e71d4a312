import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../shared/errors.js';
import { parseStatus } from '../../shared/proc/status.js';
import { assertAllowed } from '../../target-agent/policy.js';
import { sampleState } from './support/state.js';

const own = parseStatus(readFileSync('/proc/self/status', 'utf8')).capabilities.permitted;
const asked = (permitted: bigint) => {
  const { credentials } = sampleState();
  assertAllowed({ credentials: { ...credentials, permitted } });
};

test('what we have we may give, and less', () => {
  asked(own);
  asked(0n);
});

test('what we lack we refuse, naming it', () => {
  const lacking = 1n << 62n;
  assert.throws(
    () => asked(own | lacking),
    (error: unknown) =>
      error instanceof MigrationError &&
      error.code === 'identity-refused' &&
      error.message.includes('4000000000000000'),
  );
});

test.run();
