/** Files that were written, opened or mapped since preflight: their content is compared once more, all being stopped. */
import { MigrationError } from '../shared/errors.js';
import { digestOf, isSameInode, isUnchanged, stampOf } from '../shared/file-identity.js';
import { isOfFile } from '../shared/layout.js';
import type { NeededFile } from '../shared/protocol/messages.js';
import type { State } from '../shared/state/index.js';
import type { Mapping } from '../shared/state/memory.js';

/** Files as preflight found them. */
export interface KnownFiles {
  files: readonly NeededFile[];
  /** Paths that both hosts see as one inode: what is written to one is written to the other. */
  sameInode: ReadonlySet<string>;
}

/** Throws MigrationError 'unreadable-state' for a file that cannot be compared. */
export async function changedSince(
  { files, sameInode }: KnownFiles,
  state: Pick<State, 'files' | 'memory'>,
  layout: readonly Mapping[],
) {
  const before = new Map(files.map(({ path, stamp }) => [path, stamp]));
  const changed: { path: string; size: bigint; sha256: string }[] = [];
  for (const path of reliedOn(state, layout)) {
    const [known, now] = [before.get(path), stampOf(path)];
    if (known && now && isUnchanged(known, now)) continue;
    if (known && now && sameInode.has(path) && isSameInode(known, now)) continue;
    const sha256 = await digestOf(path);
    if (!now || sha256 === null) {
      const what = `${path} has changed and cannot be read to be compared`;
      throw new MigrationError('unreadable-state', what, { object: path });
    }
    changed.push({ path, size: now.size, sha256 });
  }
  return changed;
}

/** Paths whose content the process relies on now: open, mapped, or its executable. */
function reliedOn(
  { files, memory }: Pick<State, 'files' | 'memory'>,
  layout: readonly Mapping[],
): Set<string> {
  const paths = new Set([memory.executable]);
  for (const description of files.descriptions) if (description.kind === 'file') paths.add(description.path);
  for (const mapping of layout) if (isOfFile(mapping)) paths.add(mapping.name);
  return paths;
}
