/** The UTS namespace, where the process has one of its own: uname(2). */
import * as v from 'valibot';

const name = v.pipe(v.string(), v.maxLength(64));

/** null: the process shares its host's names and gets the target's. */
export const HostnameState = v.nullable(v.strictObject({ hostname: name, domainname: name }));
export type HostnameState = v.InferOutput<typeof HostnameState>;
