#!/usr/bin/env node
/** The commands `migrate` and `godwit`: the same. */
import v8 from 'node:v8';
import { eagerCode } from '../shared/eager-code.js';

for (const flag of eagerCode) v8.setFlagsFromString(flag);
// What is imported from here on is compiled under those flags.
await import('./commands.js');
