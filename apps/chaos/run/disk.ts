/** A disk that can be full: a file system in memory, whose size is set. Only root on Linux may make one. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, rmSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { isLeft, temporaryFolder } from '../../../ops/reaper.ts';

const ROOM = '4g';
/** So much can still be written to a disk that is full. */
const LEFT_BYTES = 64 * 1024;

export const canMakeDisks = process.platform === 'linux' && process.getuid?.() === 0;

export class Disk {
  readonly folder: string;

  constructor(name: string) {
    this.folder = temporaryFolder(name);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${ROOM}`, 'tmpfs', this.folder]);
  }

  fill(): void {
    const { blocks, bfree, bsize } = statfsSync(this.folder);
    this.#resize(String((blocks - bfree) * bsize + LEFT_BYTES));
  }

  free(): void {
    this.#resize(ROOM);
  }

  #resize(size: string): void {
    execFileSync('mount', ['-o', `remount,size=${size}`, this.folder]);
  }

  /** Once nothing uses it any more. */
  remove(): void {
    execFileSync('umount', ['-l', this.folder]);
  }
}

/** Those of runs that were killed together with what cleans up after them. Returns their folders. */
export function removeLeftDisks(): string[] {
  if (!canMakeDisks) return [];
  const mounted = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '));
  const left = mounted.flatMap(([, at = '', type]) => (type === 'tmpfs' && isLeft(dirname(at)) ? [at] : []));
  for (const folder of left) {
    // Another run that starts just now may have done it.
    spawnSync('umount', ['-l', folder]);
    rmSync(dirname(folder), { recursive: true, force: true });
  }
  return left;
}
