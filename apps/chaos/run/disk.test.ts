/** A run that is killed leaves no file system behind. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { until } from '../../../ops/until.ts';
import { canMakeDisks, Disk } from './disk.ts';

const DISK = fileURLToPath(new URL('./disk.ts', import.meta.url));
const isMounted = (folder: string) => readFileSync('/proc/mounts', 'utf8').includes(` ${folder} `);

it.runIf(canMakeDisks)('the disk of a run that was killed goes with it, and that of another one stays', async () => {
  const mine = new Disk('mine');
  const script = `
    const { Disk } = await import(${JSON.stringify(DISK)});
    console.log(new Disk('theirs').folder);
    setInterval(() => undefined, 1_000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    let told = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (told += text));
    await until('they have a disk', 20_000, () => told.includes('\n'));
    const theirs = told.trim();
    expect(isMounted(theirs)).toBe(true);
    child.kill('SIGKILL');
    await until('it is gone', 10_000, () => !isMounted(theirs));
    await until('its folder too', 10_000, () => !existsSync(dirname(theirs)));
    expect(isMounted(mine.folder)).toBe(true);
  } finally {
    child.kill('SIGKILL');
    mine.remove();
  }
});
