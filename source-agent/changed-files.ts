/** Files that were written since preflight: their content is compared once more, with the process stopped. */
import { digestOf, isUnchanged, stampOf } from '../shared/file-identity.js';
import type { NeededFile } from '../shared/protocol/messages.js';
import type { State } from '../shared/state/index.js';

/** Hashing happens in the freeze: only files the process holds open can have changed by its own doing. */
export async function changedSince(files: readonly NeededFile[], state: State) {
  const before = new Map(files.map((file) => [file.path, file]));
  const changed: { path: string; size: bigint; sha256: string }[] = [];
  for (const description of state.files.descriptions) {
    if (description.kind !== 'file' || changed.some(({ path }) => path === description.path)) continue;
    const known = before.get(description.path);
    if (known && isUnchanged(known.stamp, description.stamp)) continue;
    const sha256 = await digestOf(description.path);
    const size = stampOf(description.path)?.size ?? 0n;
    if (sha256 !== null) changed.push({ path: description.path, size, sha256 });
  }
  return changed;
}
