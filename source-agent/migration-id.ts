/** Names one attempt to move one process, on both sides and in their logs. */
import { randomBytes } from 'node:crypto';

export function newMigrationId(): string {
  return randomBytes(8).toString('hex');
}
