/**
 * One of three primaries of a cluster comes back with nothing, and there was no replica. What had been archived and shown
 * stays, the other two know nothing of it, and everything that is accepted afterwards is shown to everybody once.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { keyspace } from '../../lib/keyspace/index.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type RedisCluster, startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { Traffic } from './traffic.ts';

const STRIDE = 2 ** 20;
const keys = keyspace(16);
let cluster: RedisCluster;
let store: Cluster;
let deployment: Deployment;
let gateways: MillraceProcess[];
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-'));
  cluster = await startRedisCluster({ primaries: 3, replicasPerPrimary: 0 });
  store = new Cluster(cluster.nodes.map(({ host, port }) => ({ host, port })));
  const archiveUrl = `sqlite:${join(folder, 'archive.sqlite')}`;
  deployment = new Deployment({ redisUrl: cluster.url, archiveUrl, env: { PARTITIONS: '16' } });
  gateways = [await deployment.start('gateway'), await deployment.start('gateway')];
  await deployment.start('fanout', 'archiver');
}, 120_000);

afterAll(async () => {
  store?.disconnect();
  await deployment?.stop();
  await cluster?.stop();
  rmSync(folder, { recursive: true, force: true });
}, 60_000);

it('a primary that comes back empty: nothing that was archived is lost, what follows is shown once and in order', async () => {
  const traffic = new Traffic({ deployment, gateways, users: 20, groups: 4 });
  await traffic.connect();
  await traffic.everywhere();
  const shown = async () => traffic.wrong();
  await until('everything is shown', 30_000, shown, (wrong) => wrong.length === 0);
  const unarchived = async () => {
    const behind = [];
    for (const channel of traffic.channels.keys()) {
      const last = (await store.hget(keys.channel(channel), 'last')) ?? ZERO;
      const position = (await store.hget(keys.positions(keys.partitionOf(channel)), 'archiver')) ?? ZERO;
      if (compareIds(position, last) < 0) behind.push(channel);
    }
    return behind;
  };
  await until('everything is archived', 30_000, unarchived, (behind) => behind.length === 0);

  const before = traffic.sent.length;
  const node = cluster.nodes[1]!;
  const victim = new Redis({ host: node.host, port: node.port });
  await victim.flushall();
  victim.disconnect();

  await traffic.everywhere();
  await traffic.everywhere();
  await until('everything is shown again', 60_000, shown, (wrong) => wrong.length === 0);
  expect(traffic.refused).toEqual([]);
  expect(traffic.disorder()).toEqual([]);
  const numbers = new Set(traffic.sent.map(({ channel, seq }) => `${channel} ${seq}`));
  expect(numbers.size).toBe(traffic.sent.length);
  // Some channels were lost and go on above the hole, the others where they were.
  const above = traffic.sent.slice(before).map(({ seq }) => seq > STRIDE);
  expect(new Set(above)).toEqual(new Set([true, false]));

  await until('everything is archived again', 30_000, unarchived, (behind) => behind.length === 0);
  for (const [channel, [member = '']] of traffic.channels) {
    const ids = new Set<string>();
    const url = `${gateways[0]?.address}/v1/channels/${channel}/messages?limit=200`;
    const response = await fetch(url, { headers: { authorization: `Bearer ${deployment.token(member)}` } });
    const page = (await response.json()) as { messages: { id: string }[]; last_seq: number; complete_to: number };
    for (const { id } of page.messages) ids.add(id);
    expect(page.complete_to).toBe(page.last_seq);
    const sent = traffic.sent.filter((one) => one.channel === channel);
    expect(sent.filter(({ id }) => !ids.has(id))).toEqual([]);
  }
  await traffic.close();
}, 180_000);
