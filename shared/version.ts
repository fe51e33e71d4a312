/** The product's version, from package.json. The formats on the wire have versions of their own. */
import { createRequire } from 'node:module';

export const productVersion = (createRequire(import.meta.url)('../../package.json') as { version: string })
  .version;
