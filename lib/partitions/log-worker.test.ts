import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { type Archive, openArchive } from '../archive/index.ts';
import { loadConfig } from '../config/index.ts';
import { keyspace } from '../keyspace/index.ts';
import { connect, type RedisStore } from '../redis/connect.ts';
import type { LogBatch } from '../redis/follow.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { LogWorker } from './log-worker.ts';

const ROLE = 'archiver';
const keys = keyspace(4);
const logger = pino({ level: 'silent' });
/** Far below a lease's 10 s. */
const SOON_MS = 3_000;

let folder: string;
let server: RedisServer;
let store: RedisStore;
let archive: Archive;
const running: LogWorker[] = [];
/** Ends what hangs. */
let hanging = Promise.withResolvers<void>();
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-log-worker-'));
  server = await startRedis();
  store = await connect(server.url, { logger, name: 'log-worker-test' });
  archive = await openArchive(`sqlite:${join(folder, 'archive.sqlite')}`, { logger });
});
afterEach(async () => {
  hanging.resolve();
  hanging = Promise.withResolvers();
  await Promise.all(running.splice(0).map((worker) => worker.stop()));
  await store.command.flushall();
});
afterAll(async () => {
  await store.close();
  await archive.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

async function worker(incarnation: string, handle: (batches: LogBatch[]) => Promise<void>) {
  const config = loadConfig({ REDIS_URL: server.url, PARTITIONS: '4' });
  const metrics = createMetrics();
  metrics.stop();
  const made = new LogWorker(
    { config, store, archive, logger, metrics, incarnation },
    { role: ROLE, logger, count: 10, intervalMs: () => 1, gain: async () => '0-0', handle, onRetry: () => undefined },
  );
  running.push(made);
  await made.start();
  return made;
}

const write = () => Promise.all([0, 1, 2, 3].map((p) => store.command.xadd(keys.log(p), '*', 'n', String(p))));
const holders = () => store.command.mget([0, 1, 2, 3].map((p) => keys.lease(p, ROLE)));

test('a share is handed over at once while what it holds can not be handled, and nothing is skipped', async () => {
  await write();
  const tries = new Set<number>();
  await worker('a', async (batches) => {
    for (const { partition } of batches) tries.add(partition);
    throw new Error('the archive is away');
  });
  await until('all were tried', SOON_MS, () => tries.size === 4);
  const handled = new Set<number>();
  await worker('b', async (batches) => {
    for (const { partition } of batches) handled.add(partition);
  });
  await until(
    'b has its half',
    SOON_MS,
    async () => (await holders()).join(),
    (list) => list === 'a,b,a,b',
  );
  await until('and has handled it', SOON_MS, () => handled.size === 2);
});

test('who stops while a batch hangs gives everything back before it has ended', async () => {
  await write();
  let tried = false;
  const a = await worker('a', () => {
    tried = true;
    return hanging.promise;
  });
  await until('a batch hangs', SOON_MS, () => tried);
  await worker('b', async () => undefined);
  let stopped = false;
  const stopping = a.stop().then(() => {
    stopped = true;
  });
  await until(
    'b has all',
    SOON_MS,
    async () => (await holders()).join(),
    (list) => list === 'b,b,b,b',
  );
  expect(stopped).toBe(false);
  hanging.resolve();
  await stopping;
});
