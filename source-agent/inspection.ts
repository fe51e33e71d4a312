/** All that can be learnt of the process without touching it: the ground of preflight and of each capture. */
import { type DescriptorEntry, native } from '../native/index.js';
import { type DescriptorInfo, parseDescriptorInfo } from '../shared/proc/descriptor-info.js';
import type { Mapping } from '../shared/proc/mappings.js';
import type { ProgramVdso } from '../shared/protocol/messages.js';
import { programVdso } from '../shared/vdso.js';
import type { ProcessView, SourceProcess } from './source-process.js';

export interface OpenDescriptor extends DescriptorEntry {
  parsed: DescriptorInfo;
}

export interface Inspection {
  process: SourceProcess;
  view: ProcessView;
  /** With VmFlags. */
  mappings: Mapping[];
  descriptors: OpenDescriptor[];
  /** Null where the program has unmapped it. */
  vdso: ProgramVdso | null;
}

export function inspect(process: SourceProcess): Inspection {
  const mappings = process.mappingsWithFlags();
  return {
    process,
    view: process.look(),
    mappings,
    descriptors: openDescriptors(process.pid),
    vdso: programVdso(process.pid, mappings, process.readBytes('auxv')!),
  };
}

export function openDescriptors(pid: number): OpenDescriptor[] {
  return native.listDescriptors(pid).map((entry) => ({ ...entry, parsed: parseDescriptorInfo(entry.info) }));
}
