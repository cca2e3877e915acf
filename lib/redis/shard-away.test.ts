/** One shard of a cluster refuses connections: what that costs those who talk to the others. */
import type { Cluster } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type RedisCluster, startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { keyspace } from '../keyspace/index.ts';
import { connect, type RedisStore } from './connect.ts';

const keys = keyspace(16);
let cluster: RedisCluster;
let store: RedisStore;
beforeAll(async () => {
  cluster = await startRedisCluster({ primaries: 3 });
  store = await connect(cluster.url, { logger: pino({ level: 'silent' }), name: 'test' });
});
afterAll(async () => {
  await store.close();
  await cluster.stop();
});

test('while all answer, who has which slots is looked up every two seconds: a look costs some milliseconds', async () => {
  let looks = 0;
  const look = () => void looks++;
  (store.command as Cluster).on('refresh', look);
  const from = performance.now();
  while (performance.now() - from < 3000) await store.command.ping();
  (store.command as Cluster).off('refresh', look);
  expect(looks).toBeLessThan(3);
});

test('however many commands fail there, who has which slots is looked up a few times a second', async () => {
  const [away] = cluster.nodes;
  away?.kill('SIGKILL');
  const write = (partition: number) => store.command.xadd(keys.log(partition), '*', 'a', 'b');
  // Partition 0 is on the first primary, 15 on the third.
  const refused = () =>
    write(0).then(
      () => false,
      () => true,
    );
  await until('it refuses', 10_000, refused);

  let looks = 0;
  (store.command as Cluster).on('refresh', () => looks++);
  let failed = 0;
  const from = performance.now();
  while (performance.now() - from < 3000) {
    const [, ...asked] = await Promise.all([write(15), ...Array.from({ length: 10 }, refused)]);
    failed += asked.filter(Boolean).length;
  }
  const seconds = (performance.now() - from) / 1000;
  expect(failed).toBeGreaterThan(50);
  expect(looks).toBeGreaterThan(0);
  expect(looks / seconds).toBeLessThan(6);
});
