/** All that can be learnt of the process without touching it: the ground of preflight and of each capture. */
import { type DescriptorEntry, native } from '../native/index.js';
import { type DescriptorInfo, parseDescriptorInfo } from '../shared/proc/descriptor-info.js';
import type { Mapping } from '../shared/proc/mappings.js';
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
}

export function inspect(process: SourceProcess): Inspection {
  return {
    process,
    view: process.look(),
    mappings: process.mappingsWithFlags(),
    descriptors: openDescriptors(process.pid),
  };
}

export function openDescriptors(pid: number): OpenDescriptor[] {
  return native.listDescriptors(pid).map((entry) => ({ ...entry, parsed: parseDescriptorInfo(entry.info) }));
}
