/** The clock of one server, set by a file that libfaketime reads: it runs ahead or behind by so many seconds. */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../../../ops/reaper.ts';

const LIBRARIES = ['x86_64-linux-gnu', 'aarch64-linux-gnu', '']
  .map((machine) => join('/usr/lib', machine, 'faketime/libfaketime.so.1'))
  .find((file) => existsSync(file));

export const canSetClocks = LIBRARIES !== undefined;

export class Clock {
  readonly #file = join(temporaryFolder('clock'), 'offset');

  constructor() {
    this.set(0);
  }

  /** With these in its environment a process has this clock. Its monotonic time stays as it is. */
  get env(): Record<string, string> {
    return {
      LD_PRELOAD: LIBRARIES!,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
  }

  /** In the process a second later at most. */
  set(aheadS: number): void {
    writeFileSync(this.#file, `${aheadS < 0 ? '' : '+'}${aheadS}s\n`);
  }
}
