/** Resource limits, by number: getrlimit(2). */
import * as v from 'valibot';
import { word } from './values.js';

export const limitNames = [
  'cpu',
  'fsize',
  'data',
  'stack',
  'core',
  'rss',
  'nproc',
  'nofile',
  'memlock',
  'as',
  'locks',
  'sigpending',
  'msgqueue',
  'nice',
  'rtprio',
  'rttime',
] as const;

export const LimitsState = v.pipe(
  v.array(v.strictObject({ soft: word, hard: word })),
  v.length(limitNames.length),
);
export type LimitsState = v.InferOutput<typeof LimitsState>;
