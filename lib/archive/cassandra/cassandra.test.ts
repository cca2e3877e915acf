import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'cassandra-driver';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Cassandra, startCassandra } from '../../../ops/cassandra/cassandra.ts';
import type { Archive, ArchiveRow } from '../archive.ts';
import { archiveContract } from '../contract.ts';
import { erasureContract } from '../erasure-contract.ts';
import { factsContract } from '../facts-contract.ts';
import { openArchive } from '../index.ts';
import { rebuildContract } from '../rebuild-contract.ts';

const logger = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'millrace-cassandra-'));
let cassandra: Cassandra;

beforeAll(async () => {
  cassandra = await startCassandra({ dir: folder });
}, 600_000);
afterAll(async () => {
  cassandra?.kill('SIGKILL');
  await cassandra?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const keyspace = (name: string) => cassandra.url.replace('/millrace?', `/${name}?`);

function messages(channel: string, count: number): ArchiveRow[] {
  return Array.from({ length: count }, (_, i) => ({
    channel,
    seq: i + 1,
    id: `00000000-0000-1000-8000-${String(i).padStart(12, '0')}`,
    logId: `1763000000000-${i}`,
    type: 'message',
    from: `user-${i % 50}`,
    clientId: `c${i}`,
    ts: 1_763_000_000_000,
    content: 'x'.repeat(500),
  }));
}

archiveContract('cassandra', async () => {
  const archive = await openArchive(keyspace('contract'), { logger });
  expect((await archive.applySchema()).length).toBeGreaterThan(0);
  return archive;
});

erasureContract('cassandra', async () => {
  const archive = await openArchive(keyspace('erasure'), { logger });
  expect((await archive.applySchema()).length).toBeGreaterThan(0);
  return archive;
});

rebuildContract('cassandra', async () => {
  const archive = await openArchive(keyspace('rebuild'), { logger });
  expect((await archive.applySchema()).length).toBeGreaterThan(0);
  expect(await archive.isEmpty()).toBe(true);
  return archive;
});

factsContract('cassandra', async () => {
  const archive = await openArchive(keyspace('facts'), { logger });
  expect((await archive.applySchema()).length).toBeGreaterThan(0);
  return archive;
});

describe('the Cassandra archive', () => {
  let archive: Archive;
  beforeAll(async () => {
    archive = await openArchive(keyspace('own'), { logger });
  });
  afterAll(() => archive?.close());

  test('says that the schema is missing, and how to make it', async () => {
    await expect(archive.ready()).rejects.toMatchObject({
      code: 'schema',
      message: expect.stringContaining('millrace schema'),
    });
    await expect(archive.write(messages('g:a', 1))).rejects.toMatchObject({ code: 'schema', retryable: true });
    expect(await archive.applySchema()).toEqual(['001_history', '002_changes', '003_accounts', '004_losses']);
    await archive.ready();
  });

  test('a migration that broke off in the middle is done again', async () => {
    const client = new Client({ contactPoints: [cassandra.contactPoint], localDataCenter: 'datacenter1' });
    try {
      await client.execute("DELETE FROM own.schema_migrations WHERE name = '002_changes'");
      await client.execute('ALTER TABLE own.messages DROP deleted');
      await expect(archive.ready()).rejects.toMatchObject({ code: 'schema' });
      expect(await archive.applySchema()).toEqual(['002_changes']);
      await archive.ready();
    } finally {
      await client.shutdown();
    }
  });

  test('history has the unified compaction, and is spread by channel and bucket', async () => {
    const client = new Client({ contactPoints: [cassandra.contactPoint], localDataCenter: 'datacenter1' });
    try {
      const tables = await client.execute(
        "SELECT table_name, compaction FROM system_schema.tables WHERE keyspace_name = 'own'",
      );
      const classes = tables.rows.map((row) => [row.get('table_name'), row.get('compaction').class.split('.').pop()]);
      expect(Object.fromEntries(classes).messages).toBe('UnifiedCompactionStrategy');
      await archive.write(messages('g:spread', 1));
      const stored = await client.execute(
        "SELECT bucket, WRITETIME(content) AS at FROM own.messages WHERE channel_id = 'g:spread' AND bucket = 0",
      );
      expect(Number(stored.rows[0]?.get('at'))).toBe(1_763_000_000_000_000);
      await archive.write(messages('g:spread', 3));
      const senders = await client.execute("SELECT bucket FROM own.buckets_by_sender WHERE sender_id = 'user-2'");
      expect(senders.rows.map((row) => row.get('bucket'))).toEqual([0]);
    } finally {
      await client.shutdown();
    }
  });

  test('a batch of 500 rows is written in a fraction of a second', async () => {
    const start = performance.now();
    for (let i = 0; i < 10; i++) {
      await archive.write(messages(`g:fast${i}`, 500));
    }
    // 5,000 rows take well under a second on a quiet machine; the bound is for a busy one.
    expect(performance.now() - start).toBeLessThan(15_000);
  });

  test('while Cassandra is down writes reject as retryable and nothing acknowledged is lost; it is found again', async () => {
    const before = messages('g:down', 40);
    await archive.write(before.slice(0, 20));
    cassandra.kill('SIGKILL');
    const failure = await archive.write(before.slice(20)).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: 'unavailable', retryable: true, cause: expect.anything() });
    await expect(archive.page('g:down', { limit: 10, order: 'newest' })).rejects.toMatchObject({ retryable: true });
    await expect(archive.ready()).rejects.toMatchObject({ code: 'unavailable' });
    await cassandra.stop();

    // One that is opened while it is down works as soon as it is up.
    const late = await openArchive(keyspace('own'), { logger });
    await expect(late.ready()).rejects.toMatchObject({ code: 'unavailable', retryable: true });

    // Also when another process took its port between nodes in the meantime.
    const { storage } = JSON.parse(readFileSync(join(folder, 'ports.json'), 'utf8')) as { storage: number };
    const other = createServer().listen(storage, '127.0.0.1');
    await once(other, 'listening');
    cassandra = await startCassandra({ dir: folder });
    other.close();
    for (const each of [archive, late]) {
      await eventually(() => each.write(before));
      expect(await each.page('g:down', { limit: 100, order: 'oldest' })).toEqual(before);
    }
    await late.close();
  }, 180_000);

  test('a frozen Cassandra makes calls reject, not hang', async () => {
    cassandra.kill('SIGSTOP');
    try {
      const start = performance.now();
      await expect(archive.page('g:down', { limit: 10, order: 'newest' })).rejects.toMatchObject({ retryable: true });
      expect(performance.now() - start).toBeLessThan(15_000);
    } finally {
      cassandra.kill('SIGCONT');
    }
    await eventually(() => archive.page('g:down', { limit: 10, order: 'newest' }));
  }, 60_000);

  test('a wrong data centre is named', async () => {
    const wrong = await openArchive(keyspace('own').replace('datacenter1', 'elsewhere'), { logger });
    await expect(wrong.ready()).rejects.toMatchObject({
      code: 'bad_url',
      message: expect.stringContaining('elsewhere'),
    });
    await wrong.close();
  });
});

/** Repeats an action that may fail for a while, as the archiver does. */
async function eventually<T>(action: () => Promise<T>, timeoutMs = 60_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (Date.now() > deadline) {
        throw error;
      }
      await sleep(100);
    }
  }
}
