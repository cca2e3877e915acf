/** A run that is killed leaves no file system behind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { until } from '../../../ops/until.ts';
import { canMakeDisks, Disk, removeLeftDisks } from './disk.ts';

const DISK = fileURLToPath(new URL('./disk.ts', import.meta.url));
const isMounted = (folder: string) => readFileSync('/proc/mounts', 'utf8').includes(` ${folder} `);
const children: ChildProcess[] = [];

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

/** Another run that has one. */
async function another(): Promise<{ child: ChildProcess; folder: string }> {
  const script = `
    const { Disk } = await import(${JSON.stringify(DISK)});
    console.log(new Disk('theirs').folder);
    setInterval(() => undefined, 1_000);
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  let told = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (told += text));
  await until('they have a disk', 20_000, () => told.includes('\n'));
  expect(isMounted(told.trim())).toBe(true);
  return { child, folder: told.trim() };
}

it.runIf(canMakeDisks)('the disk of a run that was killed goes with it, and that of another one stays', async () => {
  const mine = new Disk('mine');
  try {
    const { child, folder } = await another();
    child.kill('SIGKILL');
    await until('it is gone', 10_000, () => !isMounted(folder));
    await until('its folder too', 10_000, () => !existsSync(dirname(folder)));
    expect(isMounted(mine.folder)).toBe(true);
  } finally {
    mine.remove();
  }
});

it.runIf(canMakeDisks)(
  'where what cleans up was killed too, the next run does it, and lets those that live be',
  async () => {
    const mine = new Disk('mine');
    try {
      const [dead, alive] = [await another(), await another()];
      const { pid } = dead.child;
      const [reaper] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
      const ended = new Promise((done) => dead.child.once('exit', done));
      process.kill(reaper!, 'SIGKILL');
      dead.child.kill('SIGKILL');
      await ended;
      expect(isMounted(dead.folder)).toBe(true);

      expect(removeLeftDisks()).toContain(dead.folder);
      expect(isMounted(dead.folder)).toBe(false);
      expect(existsSync(dirname(dead.folder))).toBe(false);
      expect(isMounted(alive.folder)).toBe(true);
      expect(isMounted(mine.folder)).toBe(true);
    } finally {
      mine.remove();
    }
  },
);
