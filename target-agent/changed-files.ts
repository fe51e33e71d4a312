/** Files that the source wrote since preflight: they must be the same here, now. */
import { MigrationError } from '../shared/errors.js';
import { digestOf, stampOf } from '../shared/file-identity.js';
import type { FromSource } from '../shared/protocol/messages.js';

type ChangedFile = Extract<FromSource, { type: 'finish' }>['changedFiles'][number];

/** `accepted`: paths of files that differed before, which was forced. Throws MigrationError 'file-differs'. */
export async function verifyChanged(
  files: readonly ChangedFile[],
  accepted: ReadonlySet<string>,
): Promise<void> {
  for (const { path, size, sha256 } of files) {
    if (accepted.has(path) || (stampOf(path)?.size === size && (await digestOf(path)) === sha256)) continue;
    const what = `${path} was written during the migration, and the target sees another content`;
    throw new MigrationError('file-differs', what, { object: path, phase: 'freeze' });
  }
}
