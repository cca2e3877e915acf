import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RedisCluster, startRedisCluster } from '../../ops/redis/cluster.ts';
import { keyspace } from '../keyspace/index.ts';
import { connect, type RedisStore } from './connect.ts';
import { isRetryable } from './retryable.ts';

const PARTITIONS = 16;
const keys = keyspace(PARTITIONS);
const logger = pino({ level: 'silent' });
let cluster: RedisCluster;
let store: RedisStore;
beforeAll(async () => {
  cluster = await startRedisCluster({ primaries: 3, replicasPerPrimary: 1 });
  store = await connect(cluster.url, { logger, name: 'test' });
});
afterAll(async () => {
  await store.close();
  await cluster.stop();
});

/** The result, or undefined when trying again may help. Anything else fails the test. */
async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isRetryable(error)) throw error;
    return undefined;
  }
}

// Partition 0 is on the first primary, 15 on the third.
test.each([
  ['dies', 'SIGKILL', 0, 0],
  ['freezes', 'SIGSTOP', 2, 15],
] as const)('a primary %s: commands and blocking reads go on at the promoted replica', async (_, signal, node, p) => {
  const log = keys.log(p);
  const connection = await store.blocking(p, PARTITIONS);
  let reconnects = 0;
  let changes = 0;
  connection.onReconnect(() => reconnects++);
  const stopListening = store.onTopologyChange(() => changes++);
  await store.command.xadd(log, '1-1', 'a', 'b');
  expect(await connection.xread([{ key: log, after: '0-0' }], { count: 10, blockMs: 100 })).toHaveLength(1);

  cluster.nodes[node]!.kill(signal);
  const write = () => attempt(() => store.command.xadd(log, '*', 'a', 'c'));
  // A killed process lives on for a moment: what it answers still is not the promoted one's.
  await expect.poll(write, { timeout: 15_000, interval: 50 }).toBeUndefined();
  await expect.poll(write, { timeout: 25_000, interval: 100 }).toMatch(/-/);
  const read = () => attempt(() => connection.xread([{ key: log, after: '1-1' }], { count: 10, blockMs: 200 }));
  await expect.poll(async () => (await read())?.length, { timeout: 10_000 }).toBeGreaterThanOrEqual(1);
  expect(reconnects).toBeGreaterThanOrEqual(1);
  // Commands may have followed the servers' own word before anybody looked who has which slots.
  await expect.poll(() => changes, { timeout: 5_000 }).toBeGreaterThanOrEqual(1);
  connection.close();
  stopListening();
});
