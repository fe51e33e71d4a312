/** /proc/PID/mountinfo: fs/proc_namespace.c show_mountinfo(), proc_pid_mountinfo(5). */
import { unescapeOctal } from './escapes.js';
import { malformed } from './malformed.js';

export interface Mount {
  id: number;
  parent: number;
  /** "major:minor" in decimal, for example "8:1". */
  device: string;
  /** The folder of the file system that is mounted here, or what nsfs shows ("net:[4026531840]"). */
  root: string;
  /** As seen from the reader's root. */
  mountPoint: string;
  /** Of this mount: "rw", "nosuid" ... */
  options: string[];
  /** "shared:1", "master:2", "propagate_from:2", "unbindable"; empty for a private mount. */
  propagation: string[];
  fsType: string;
  /** A device, or whatever the file system was given; may be empty. */
  source: string;
  /** Of the file system, as it writes them itself. */
  superOptions: string;
}

/** Mounts in the kernel's order: a later one on the same mount point hides the earlier. */
export function parseMountinfo(text: string): Mount[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

function parseLine(line: string): Mount {
  // Blanks inside a field are escaped, and a field may be empty: so each single blank separates.
  const fields = line.split(' ');
  const dash = fields.indexOf('-', 6);
  const [id, parent, device, root, mountPoint, options] = fields;
  const [fsType, source, ...superOptions] = dash < 0 ? [] : fields.slice(dash + 1);
  if (
    !/^\d+$/.test(id ?? '') ||
    !/^\d+$/.test(parent ?? '') ||
    !/^\d+:\d+$/.test(device ?? '') ||
    superOptions.length === 0
  )
    throw malformed('mountinfo', `"${line}"`);
  return {
    id: Number(id),
    parent: Number(parent),
    device: device!,
    root: unescapeOctal(root!),
    mountPoint: unescapeOctal(mountPoint!),
    options: options!.split(','),
    propagation: fields.slice(6, dash),
    fsType: unescapeOctal(fsType!),
    source: unescapeOctal(source!),
    superOptions: superOptions.join(' '),
  };
}
