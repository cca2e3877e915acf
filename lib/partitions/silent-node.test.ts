/** One node of a cluster that does not answer: who works on the others must not notice. */
import keySlot from 'cluster-key-slot';
import type { Cluster } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type RedisCluster, type RedisClusterNode, startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { connect, type RedisStore } from '../redis/connect.ts';
import { PartitionLeases } from './leases.ts';
import { tagOf } from './slices.ts';

const PARTITIONS = 16;
const TTL_MS = 6000;
const RENEW_MS = 1200;
const ALL = Array.from({ length: PARTITIONS }, (_, p) => p);
const logger = pino({ level: 'silent' });

let cluster: RedisCluster;
let stores: RedisStore[];
let silent: RedisClusterNode;
/** The partitions of the node that has partition 0, and all others. */
let there: number[];
let elsewhere: number[];
let roles = 0;

beforeAll(async () => {
  cluster = await startRedisCluster();
  stores = await Promise.all(['a', 'b'].map((name) => connect(cluster.url, { logger, name })));
  const { slots } = stores[0]!.command as Cluster;
  const ownerOf = (p: number) => slots[keySlot(tagOf(p, PARTITIONS))]?.[0];
  silent = cluster.nodes.find(({ host, port }) => `${host}:${port}` === ownerOf(0))!;
  there = ALL.filter((p) => ownerOf(p) === ownerOf(0));
  elsewhere = ALL.filter((p) => ownerOf(p) !== ownerOf(0));
});
afterEach(() => void silent.kill('SIGCONT'));
afterAll(async () => {
  await Promise.all(stores.map((store) => store.close()));
  await cluster.stop();
});

function worker(role: string, name: string, store: RedisStore) {
  const lost: number[] = [];
  let stuck = 0;
  const leases = new PartitionLeases({
    ...{ store, partitions: PARTITIONS, role, worker: name, logger },
    ...{ ttlMs: TTL_MS, renewMs: RENEW_MS },
    onGained: () => undefined,
    onLost: async (p) => void lost.push(p),
    onStuck: () => stuck++,
  });
  const rounds = setInterval(() => leases.completedRound(), 50);
  return {
    lost,
    leases,
    held: () => leases.held().sort((a, b) => a - b),
    stuck: () => stuck,
    freezeLoop: () => clearInterval(rounds),
    stop: async () => {
      await leases.stop();
      clearInterval(rounds);
    },
  };
}

test('leases on the other nodes are kept for as long as the one with partition 0 is silent; its own come back with it', async () => {
  const role = `role-${++roles}`;
  const [a, b] = [worker(role, 'a', stores[0]!), worker(role, 'b', stores[1]!)];
  await Promise.all([a.leases.start(), b.leases.start()]);
  const both = () => [...a.held(), ...b.held()].sort((x, y) => x - y);
  const shared = () => a.held().length === PARTITIONS / 2 && both().length === PARTITIONS;
  await until('they share all', TTL_MS, shared);
  const before = [a.held(), b.held()];
  a.lost.length = b.lost.length = 0;

  silent.kill('SIGSTOP');
  const from = performance.now();
  await until('one and a half lease times are over', 2 * TTL_MS, () => performance.now() - from > 1.5 * TTL_MS);
  expect([...a.lost, ...b.lost].sort((x, y) => x - y)).toEqual(there);
  expect(both()).toEqual(elsewhere);

  silent.kill('SIGCONT');
  await until('all are held again', 2 * TTL_MS, () => both().length === PARTITIONS);
  await until('as before', 2 * TTL_MS, () => JSON.stringify([a.held(), b.held()]) === JSON.stringify(before));
  expect([a.stuck(), b.stuck()]).toEqual([0, 0]);
  await Promise.all([a.stop(), b.stop()]);
});

test('a loop that stands still is found out while a node is silent; one that waits for that node is not blamed', async () => {
  const a = worker(`role-${++roles}`, 'a', stores[0]!);
  await a.leases.start();
  expect(a.held()).toEqual(ALL);
  silent.kill('SIGSTOP');
  a.freezeLoop();
  await until('the leases there have ended', 2 * TTL_MS, () => a.held().length === elsewhere.length);
  expect(a.stuck()).toBe(0);
  await until('stuck', 2 * TTL_MS, () => a.stuck() > 0);
  silent.kill('SIGCONT');
  await a.stop();
});

test('who starts or stops while membership is silent is not held up, and what is free is taken', async () => {
  const role = `role-${++roles}`;
  const first = worker(role, 'a', stores[0]!);
  await first.leases.start();
  expect(first.held()).toEqual(ALL);
  silent.kill('SIGSTOP');
  const second = worker(role, 'b', stores[1]!);
  const from = performance.now();
  await second.leases.start();
  expect(performance.now() - from).toBeLessThan(3 * RENEW_MS);
  const stopped = first.stop();
  await until('the other takes over', 4 * TTL_MS, () => JSON.stringify(second.held()) === JSON.stringify(elsewhere));
  silent.kill('SIGCONT');
  await until('all of it', 2 * TTL_MS, () => second.held().length === PARTITIONS);
  await Promise.all([stopped, second.stop()]);
});
