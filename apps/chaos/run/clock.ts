/** The clock of one server, set by a file that libfaketime reads: it runs ahead or behind by so many seconds. */
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../../../ops/reaper.ts';

const LIBRARY = ['x86_64-linux-gnu', 'aarch64-linux-gnu', '']
  .map((machine) => join('/usr/lib', machine, 'faketime/libfaketime.so.1'))
  .find((file) => existsSync(file));

export const canSetClocks = LIBRARY !== undefined;

export class Clock {
  readonly #file = join(temporaryFolder('clock'), 'offset');

  constructor() {
    this.set(0);
  }

  /** With these in its environment a process has this clock. Its monotonic time stays as it is. */
  get env(): Record<string, string> {
    return {
      // The C library's own malloc before jemalloc, which asks for the time before libfaketime is ready for it.
      LD_PRELOAD: `${LIBRARY}:libc.so.6`,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
  }

  set(aheadS: number): void {
    // It is read at every look at the clock: never half written.
    writeFileSync(`${this.#file}.new`, `${aheadS < 0 ? '' : '+'}${aheadS}s\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}
