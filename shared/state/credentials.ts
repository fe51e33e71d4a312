/** Who the process is: credentials(7), capabilities(7). All of its threads agree; preflight sees to it. */
import * as v from 'valibot';
import { list, uint32, word } from './values.js';

const ids = v.strictObject({ real: uint32, effective: uint32, saved: uint32, fileSystem: uint32 });

export const CredentialsState = v.strictObject({
  uids: ids,
  gids: ids,
  groups: list(uint32, 65536),
  inheritable: word,
  permitted: word,
  effective: word,
  bounding: word,
  ambient: word,
  securebits: uint32,
  noNewPrivileges: v.boolean(),
});
export type CredentialsState = v.InferOutput<typeof CredentialsState>;
