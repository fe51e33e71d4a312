/**
 * The ways in which CRIU can move a process. Both ends are this machine, so the process gets its pid again as soon as
 * its first life has ended. Image files lie on a tmpfs that both ends see: nothing is charged for copying them.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Criu, RunningCriu } from './command.js';

export type WayName = 'tmpfs' | 'page-server' | 'pre-dump';

export interface Way {
  name: WayName;
  title: string;
  /**
   * Ends the process and brings it back; it may not run yet when this resolves. `ended`: the process as it was started
   * is gone and its pid is free. Throws CriuFailure.
   */
  move: (criu: Criu, subject: Subject) => Promise<RunningCriu>;
}

export interface Subject {
  pid: number;
  ended: Promise<unknown>;
  /** An empty folder on a tmpfs. */
  folder: string;
}

const preDumps = 2;

export const ways: readonly Way[] = [
  {
    name: 'tmpfs',
    title: 'CRIU: dump and restore on tmpfs',
    async move(criu, { pid, ended, folder }) {
      await criu.run('dump', folder, '--tree', String(pid));
      await ended;
      return criu.start('restore', folder);
    },
  },
  {
    name: 'page-server',
    title: 'CRIU: page server',
    async move(criu, { pid, ended, folder }) {
      await dumpToServer(criu, 'dump', folder, ['--tree', String(pid)]);
      await ended;
      return criu.start('restore', folder);
    },
  },
  {
    name: 'pre-dump',
    title: `CRIU: ${preDumps} pre-dumps, page server`,
    async move(criu, { pid, ended, folder }) {
      for (let i = 0; i <= preDumps; i += 1) {
        const images = join(folder, String(i));
        mkdirSync(images);
        // Relative to the folder of images (man 8 criu).
        const previous = i === 0 ? [] : ['--prev-images-dir', `../${i - 1}`];
        const action = i < preDumps ? 'pre-dump' : 'dump';
        await dumpToServer(criu, action, images, ['--tree', String(pid), '--track-mem'], previous);
      }
      await ended;
      return criu.start('restore', join(folder, String(preDumps)));
    },
  },
];

async function dumpToServer(
  criu: Criu,
  action: 'dump' | 'pre-dump',
  images: string,
  what: readonly string[],
  previous: readonly string[] = [],
): Promise<void> {
  const { running, reach } = await criu.pageServer(images, ...previous);
  using server = running;
  await criu.run(action, images, ...what, ...reach, ...previous);
  await server.succeeded;
}
