/**
 * `ACK_REPLICAS=1` on a cluster with two replicas a primary: what was accepted outlives the primary, also when one of its
 * replicas had stopped replicating before.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type RedisCluster, type RedisClusterNode, startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { Traffic } from './traffic.ts';

const PRIMARIES = 3;
let cluster: RedisCluster;
let deployment: Deployment;
let gateways: MillraceProcess[];
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-'));
  cluster = await startRedisCluster({ primaries: PRIMARIES, replicasPerPrimary: 2 });
  deployment = new Deployment({
    redisUrl: cluster.url,
    archiveUrl: `sqlite:${join(folder, 'archive.sqlite')}`,
    env: { PARTITIONS: '16', ACK_REPLICAS: '1' },
  });
  gateways = [await deployment.start('gateway'), await deployment.start('gateway')];
  await deployment.start('fanout', 'archiver');
}, 120_000);

afterAll(async () => {
  await deployment?.stop();
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

async function on<T>(node: RedisClusterNode, ask: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({ host: node.host, port: node.port, maxRetriesPerRequest: 1 });
  try {
    return await ask(redis);
  } finally {
    redis.disconnect();
  }
}

it('a primary dies while one of its two replicas is behind: nothing that was accepted is lost', async () => {
  const traffic = new Traffic({ deployment, gateways, users: 30, groups: 4 });
  await traffic.connect();
  traffic.start(150);
  await until('traffic flows', 20_000, () => traffic.sent.length > 100);

  const victim = cluster.nodes[1]!;
  const heirs = await replicasOf(victim);
  const [behind, fresh] = heirs as [RedisClusterNode, RedisClusterNode];
  // A password where none is expected: this replica does not get its connection back.
  await on(behind, (redis) => redis.config('SET', 'masterauth', 'nobody-knows'));
  await on(victim, (redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'replica'));
  const offsetOf = (node: RedisClusterNode) =>
    on(node, async (redis) => Number(/slave_repl_offset:(\d+)/.exec(await redis.info('replication'))?.[1] ?? 0));
  const sent = traffic.sent.length;
  await until('traffic flows on', 30_000, () => traffic.sent.length > sent + 150);
  expect(await offsetOf(fresh)).toBeGreaterThan(await offsetOf(behind));

  const accepted = traffic.sent.length;
  victim.kill('SIGKILL');
  const promoted = async () => String((await on(fresh, (redis) => redis.role()))[0]);
  await until('the replica that kept up is promoted', 30_000, promoted, (role) => role === 'master');
  // Until it follows the new one there is no replica, and nothing is accepted.
  await on(behind, (redis) => redis.config('SET', 'masterauth', ''));
  await until('traffic flows again', 30_000, () => traffic.sent.length > accepted + 150);
  await traffic.stop();
  await traffic.everywhere();
  await until(
    'everything that was accepted is shown',
    30_000,
    () => traffic.wrong(),
    (wrong) => wrong.length === 0,
  );
  expect(traffic.disorder()).toEqual([]);
  expect(traffic.refused).toEqual([]);
  // And no number was given out twice.
  const numbers = new Set(traffic.sent.map(({ channel, seq }) => `${channel} ${seq}`));
  expect(numbers.size).toBe(traffic.sent.length);
  await traffic.close();
}, 180_000);

async function replicasOf(primary: RedisClusterNode): Promise<RedisClusterNode[]> {
  const found = [];
  for (const node of cluster.nodes) {
    const [role, host, port] = await on(node, (redis) => redis.role());
    if (role === 'slave' && host === primary.host && Number(port) === primary.port) found.push(node);
  }
  return found;
}
