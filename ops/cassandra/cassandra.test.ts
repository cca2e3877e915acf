import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const START = join(import.meta.dirname, 'start.ts');

test('prints what to export, and ends with the process that started it, even after SIGKILL', async () => {
  const child = spawn(process.execPath, [START], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  try {
    for await (const chunk of child.stdout) {
      text += String(chunk);
      if (text.includes('Ctrl-C')) break;
    }
  } finally {
    child.kill('SIGKILL');
  }
  expect(text).toMatch(/export ARCHIVE_URL='cassandra:\/\/127\.0\.0\.1:\d+\/millrace\?dc=datacenter1'/);
  const pid = Number(/process (\d+)/.exec(text)?.[1]);
  expect(pid).toBeGreaterThan(0);
  await expect.poll(() => alive(pid), { timeout: 20_000 }).toBe(false);
}, 600_000);

test('without Java or Maven it says what to install', async () => {
  const child = spawn(process.execPath, [START], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: '' },
  });
  let text = '';
  for await (const chunk of child.stderr) text += String(chunk);
  expect(text).toContain('install Java 17');
}, 60_000);

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
