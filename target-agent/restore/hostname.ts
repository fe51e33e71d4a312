import { CallBatch } from '../../shared/injection/batch.js';
import { syscalls } from '../../shared/injection/x86-64/syscalls.js';
import type { Restore } from './kind.js';

const cloneNewUts = 0x04000000;

export const restoreHostname: Restore = {
  settle({ skeleton, state: { hostname } }) {
    if (hostname === null) return;
    const [host, domain] = [Buffer.from(hostname.hostname), Buffer.from(hostname.domainname)];
    const hostAt = skeleton.put(host);
    const domainAt = skeleton.put(domain, 128);
    const batch = new CallBatch();
    // The target's own names stay as they are: the process has its own namespace, as at home.
    batch.add('unshare(CLONE_NEWUTS)', syscalls.unshare, cloneNewUts);
    batch.add('sethostname', syscalls.sethostname, hostAt, host.byteLength);
    batch.add('setdomainname', syscalls.setdomainname, domainAt, domain.byteLength);
    skeleton.run(batch);
    batch.check();
  },
  finish(restoring, changed) {
    if (!changed.has('hostname') || restoring.state.hostname === null) return;
    const { skeleton } = restoring;
    const { hostname, domainname } = restoring.state.hostname;
    const batch = new CallBatch();
    batch.add(
      'sethostname',
      syscalls.sethostname,
      skeleton.put(Buffer.from(hostname)),
      Buffer.byteLength(hostname),
    );
    const domainAt = skeleton.put(Buffer.from(domainname), 128);
    batch.add('setdomainname', syscalls.setdomainname, domainAt, Buffer.byteLength(domainname));
    skeleton.run(batch);
    batch.check();
  },
};
