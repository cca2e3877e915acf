import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, describe, expect, test } from 'vitest';
import { archiveContract } from '../contract.ts';
import { erasureContract } from '../erasure-contract.ts';
import { factsContract } from '../facts-contract.ts';
import { openArchive } from '../index.ts';
import { rebuildContract } from '../rebuild-contract.ts';

const logger = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'millrace-archive-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

archiveContract('sqlite', () => openArchive(`sqlite:${join(folder, 'contract', 'archive.db')}`, { logger }));

erasureContract('sqlite', () => openArchive(`sqlite:${join(folder, 'erasure', 'archive.db')}`, { logger }));

rebuildContract('sqlite', async () => {
  const archive = await openArchive(`sqlite:${join(folder, 'rebuild', 'archive.db')}`, { logger });
  expect(await archive.isEmpty()).toBe(true);
  return archive;
});

factsContract('sqlite', () => openArchive(`sqlite:${join(folder, 'facts', 'archive.db')}`, { logger }));

const messages = (channel: string, count: number) =>
  Array.from({ length: count }, (_, i) => ({
    channel,
    seq: i + 1,
    id: `00000000-0000-1000-8000-${String(i).padStart(12, '0')}`,
    logId: `1763000000000-${i}`,
    type: 'message',
    from: 'alice',
    clientId: `c${i}`,
    ts: 1_763_000_000_000,
    content: 'x'.repeat(500),
  }));

describe('the embedded archive', () => {
  test('survives being closed and opened, and what was committed is read by another handle at once', async () => {
    const url = `sqlite:${join(folder, 'reopen.db')}`;
    const writer = await openArchive(url, { logger });
    const reader = await openArchive(url, { logger });
    await writer.write(messages('g:a', 3));
    expect((await reader.page('g:a', { limit: 10, order: 'newest' })).map((row) => row.seq)).toEqual([3, 2, 1]);
    await writer.close();
    await reader.close();
    const again = await openArchive(url, { logger });
    expect(await again.lastSeq('g:a')).toBe(3);
    await again.close();
  });

  test('processes that open a new file and write to it at once do not disturb each other', async () => {
    const file = join(folder, 'many.db');
    const script = join(import.meta.dirname, 'embedded.test.writer.ts');
    const children = ['g:p0', 'g:p1', 'g:p2'].map((channel) => fork(script, [file, channel]));
    const codes = await Promise.all(children.map(async (child) => (await once(child, 'exit'))[0] as number));
    expect(codes).toEqual([0, 0, 0]);
    const archive = await openArchive(`sqlite:${file}`, { logger });
    for (const channel of ['g:p0', 'g:p1', 'g:p2']) {
      expect(await archive.lastSeq(channel)).toBe(2000);
    }
    await archive.close();
  });

  test('500 rows take a few milliseconds', async () => {
    const archive = await openArchive(`sqlite:${join(folder, 'fast.db')}`, { logger });
    const times: number[] = [];
    for (let i = 0; i < 20; i++) {
      const rows = messages(`g:${i}`, 500);
      const start = performance.now();
      await archive.write(rows);
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    // Typically 3 ms; the bound is generous because the machine is shared.
    expect(times[10]).toBeLessThan(50);
    await archive.close();
  });

  test('a file that cannot be opened says why and what to do', async () => {
    await expect(openArchive(`sqlite:${folder}`, { logger })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('Check that'),
    });
    await expect(openArchive('sqlite:', { logger })).rejects.toMatchObject({ code: 'bad_url' });
    await expect(openArchive('mongodb://x', { logger })).rejects.toMatchObject({ code: 'bad_url' });
  });

  test('a closed archive says so', async () => {
    const archive = await openArchive(`sqlite:${join(folder, 'closed.db')}`, { logger });
    await archive.close();
    await expect(archive.lastSeq('g:a')).rejects.toMatchObject({ code: 'closed', retryable: false });
  });
});
