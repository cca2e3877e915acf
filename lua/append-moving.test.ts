/** While a slot moves, a partition's keys go one by one: what a script misses then may be elsewhere already. */
import { Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DEDUPE_WINDOW_MS } from '../lib/keyspace/index.ts';
import { connect, type RedisStore } from '../lib/redis/connect.ts';
import { isRetryable } from '../lib/redis/retryable.ts';
import { Verbs } from '../lib/redis/verbs.ts';
import { type RedisCluster, startRedisCluster } from '../ops/redis/cluster.ts';
import { keys, message } from './harness.ts';

const DM = 'dm:alice:bob';
const P = keys.partitionOf(DM);
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

test('a repeat whose dedupe window has gone ahead is no second message: it may be tried again', async () => {
  const verbs = new Verbs(store.command, keys);
  await store.command.set(keys.born(P), '1');
  const first = await verbs.append(message('alice', DM, 'a1'));
  const window = Math.floor(Date.now() / DEDUPE_WINDOW_MS);
  const before = keys.dedupe(DM, window - 1);
  await store.command.rename(keys.dedupe(DM, window), before);
  await store.command.hset(keys.channel(DM), 'dedupe', String(window - 1));
  await verbs.append(message('bob', DM, 'b1'));
  expect(await store.command.exists(keys.unsaved(P), keys.dedupe(DM, window))).toBe(2);

  const slot = Number(await store.command.cluster('KEYSLOT', keys.log(P)));
  const clients = cluster.nodes.map((node) => new Redis(node.url));
  const owns = (node: number) => slot >= (node * 16_384) / 3 && slot < ((node + 1) * 16_384) / 3;
  const home = [0, 1, 2].find(owns)!;
  const to = cluster.nodes[(home + 1) % 3]!;
  await clients[(home + 1) % 3]!.cluster('SETSLOT', slot, 'IMPORTING', cluster.nodes[home]!.id);
  await clients[home]!.cluster('SETSLOT', slot, 'MIGRATING', to.id);
  await clients[home]!.migrate(to.host, to.port, before, 0, 5000);

  const failed = await verbs.append(message('alice', DM, 'a1')).catch((error: Error) => error);
  expect(failed).toBeInstanceOf(Error);
  expect(isRetryable(failed)).toBe(true);
  expect(await clients[home]!.xlen(keys.log(P))).toBe(2);

  await cluster.moveSlot(slot, to);
  expect(await verbs.append(message('alice', DM, 'a1'))).toEqual({ ...(first as object), duplicate: true });
  for (const client of clients) client.disconnect();
});
