/** Working directory, root and umask. */
import * as v from 'valibot';
import { path, uint32 } from './values.js';

export const DirectoriesState = v.strictObject({
  workingDirectory: path,
  root: path,
  umask: v.pipe(uint32, v.maxValue(0o777)),
});
export type DirectoriesState = v.InferOutput<typeof DirectoriesState>;
