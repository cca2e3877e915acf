/** The whole path on a real Redis Cluster: three primaries with a replica each, two gateways, two processes of workers. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import keySlot from 'cluster-key-slot';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MillraceClient } from '../../lib/client/index.ts';
import { partitionOf, tagOf } from '../../lib/partitions/slices.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { type RedisCluster, type RedisClusterNode, startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { Traffic } from './traffic.ts';

/** Each takes seconds; a machine that is busy with a whole suite takes many times that. */
const WITHIN_MS = 60_000;
vi.setConfig({ testTimeout: 240_000 });

let cluster: RedisCluster;
let deployment: Deployment;
let gateways: MillraceProcess[];
let workers: MillraceProcess[];
let folder: string;
/** Killed so far. */
const dead: RedisClusterNode[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millrace-'));
  cluster = await startRedisCluster({ primaries: 3, replicasPerPrimary: 1 });
  deployment = new Deployment({
    redisUrl: cluster.url,
    archiveUrl: `sqlite:${join(folder, 'archive.sqlite')}`,
    env: { PARTITIONS: '16' },
  });
  workers = [await deployment.start('fanout', 'archiver')];
  [gateways, workers[1]] = await Promise.all([
    Promise.all([deployment.start('gateway'), deployment.start('gateway')]),
    deployment.start('fanout', 'archiver'),
  ]);
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

/** How many partitions each process holds for a role. */
async function leases(role: string): Promise<number[]> {
  return Promise.all(
    workers.map(async ({ address }) => {
      const text = await (await fetch(`${address}/metrics`)).text();
      return [...text.matchAll(new RegExp(`^millrace_lease_held\\{[^}]*role="${role}"[^}]*\\} 1$`, 'gm'))].length;
    }),
  );
}

function client(user: string, gateway: number, device = 'phone'): MillraceClient {
  return new MillraceClient({ url: gateways[gateway]!.address, token: deployment.token(user), device });
}

describe('Millrace on a Redis cluster', () => {
  it('carries direct messages and groups, and spreads their keys over the nodes', async () => {
    const traffic = new Traffic({ deployment, gateways, users: 30, groups: 6, prefix: 'spread' });
    await traffic.connect();
    await traffic.everywhere();
    await until(
      'everybody was shown everything',
      WITHIN_MS,
      () => traffic.wrong(),
      (wrong) => wrong.length === 0,
    );
    expect(traffic.disorder()).toEqual([]);
    for (const node of cluster.nodes.filter(({ role }) => role === 'primary')) {
      const keys = await on(node, (redis) => redis.keys('*'));
      for (const kind of ['log:', 'inbox:', 'channel:', 'conversations:', 'cursor:']) {
        expect(keys.filter((key) => key.startsWith(kind)).length).toBeGreaterThan(1);
      }
    }
    for (const role of ['fanout', 'archiver']) {
      const held = () => leases(role);
      await until('two share the work', WITHIN_MS, held, (counts) => counts.every((n) => n === 8));
    }
    await traffic.close();
  });

  it('resumes, moves read marks over devices, pages through history and lists conversations', async () => {
    const bob = client('bob', 1);
    await bob.connect();
    await bob.close();
    const alice = client('alice', 0);
    await alice.connect();
    const { channel } = await alice.createGroup({ title: 'river', members: ['bob', 'carol'] });
    for (let i = 0; i < 120; i++) {
      await Promise.all([
        alice.send({ to: 'bob', content: `dm ${i}` }),
        alice.send({ channel, content: `group ${i}` }),
      ]);
    }
    const phone = client('bob', 0);
    const laptop = client('bob', 1, 'laptop');
    const shown: string[] = [];
    phone.on('message', ({ content }) => void shown.push(content));
    await Promise.all([phone.connect(), laptop.connect()]);
    await until(
      'bob has what he missed',
      WITHIN_MS,
      () => shown.length,
      (count) => count === 240,
    );
    expect(shown.filter((text) => text.startsWith('dm'))).toEqual(Array.from({ length: 120 }, (_, i) => `dm ${i}`));
    expect(shown.filter((text) => text.startsWith('gr'))).toEqual(Array.from({ length: 120 }, (_, i) => `group ${i}`));

    const reads: number[] = [];
    laptop.on('receipt', ({ user, channel, read }) => {
      if (user === 'bob' && channel === 'dm:alice:bob' && read > 0) reads.push(read);
    });
    phone.read('dm:alice:bob', 100);
    await until('the laptop hears of it', WITHIN_MS, () => reads.length > 0);
    expect(reads).toEqual([100]);
    const { conversations, unread_total } = await laptop.conversations();
    expect(conversations.find((c) => c.channel === 'dm:alice:bob')).toMatchObject({ last_seq: 120, unread: 20 });
    expect(conversations.find((c) => c.channel === channel)).toMatchObject({ title: 'river', last_seq: 121 });
    expect(unread_total).toBe(20 + 120);

    const older = await phone.history('dm:alice:bob', { before: 61, limit: 60 });
    expect(older.messages.map(({ seq }) => seq)).toEqual(Array.from({ length: 60 }, (_, i) => 60 - i));
    expect(older.complete_to).toBe(120);
    expect((await phone.history(channel, { after: 0, limit: 200 })).messages).toHaveLength(121);
    await Promise.all([alice.close(), phone.close(), laptop.close()]);
  });

  it('hands partitions over to a process that joins, and back when it stops, under traffic', async () => {
    const traffic = new Traffic({ deployment, gateways, users: 30, groups: 4, prefix: 'handover' });
    await traffic.connect();
    traffic.start(200);
    const third = await deployment.start('fanout', 'archiver');
    workers.push(third);
    await until(
      'three share the work',
      WITHIN_MS,
      () => leases('fanout'),
      (held) => Math.min(...held) >= 5,
    );
    await until(
      'three share the archive',
      WITHIN_MS,
      () => leases('archiver'),
      (held) => Math.min(...held) >= 5,
    );
    workers.pop();
    await third.stop();
    await until(
      'two share the work again',
      WITHIN_MS,
      () => leases('fanout'),
      (held) => held.every((n) => n === 8),
    );
    await traffic.stop();
    await until(
      'everybody was shown everything',
      WITHIN_MS,
      () => traffic.wrong(),
      (wrong) => wrong.length === 0,
    );
    expect(traffic.disorder()).toEqual([]);
    expect(traffic.refused).toEqual([]);
    await traffic.close();
  });

  it('flows again after a primary was killed and its replica promoted', () => failOver(1, 'failover', false));

  it('loses only what the dead primary alone had, when its replica was behind', () => failOver(2, 'tail', true));
});

/** Kills a primary under traffic. `behind`: its replica had stopped replicating about a second before. */
async function failOver(which: number, prefix: string, behind: boolean): Promise<void> {
  const traffic = new Traffic({ deployment, gateways, users: 30, groups: 4, prefix });
  await traffic.connect();
  traffic.start(150);
  await until('traffic flows', WITHIN_MS, () => traffic.sent.length > 100);
  const primaries = cluster.nodes.filter(({ role }) => role === 'primary');
  const [victim, heir] = [primaries[which]!, cluster.nodes.filter(({ role }) => role === 'replica')[which]!];
  if (behind) {
    // A password where none is expected: the replica does not get its connection back.
    await on(heir, (redis) => redis.config('SET', 'masterauth', 'nobody-knows'));
    await on(victim, (redis) => redis.call('CLIENT', 'KILL', 'TYPE', 'replica'));
    const sent = traffic.sent.length;
    await until('traffic flows on', WITHIN_MS, () => traffic.sent.length > sent + 150);
  }
  const killedAt = performance.now();
  victim.kill('SIGKILL');
  const roleOfHeir = () => on(heir, async (redis) => String((await redis.role())[0]));
  await until('the replica is promoted', WITHIN_MS, roleOfHeir, (role) => role === 'master');
  const promotedAt = performance.now();
  dead.push(victim);
  await until('everybody takes the cluster for whole', WITHIN_MS, async () => {
    const alive = cluster.nodes.filter((node) => !dead.includes(node));
    const states = await Promise.all(alive.map((node) => on(node, (redis) => redis.cluster('INFO'))));
    return states.every((state) => String(state).includes('cluster_state:ok'));
  });
  // Each channel from each member, so all partitions are among them.
  await traffic.everywhere();
  await traffic.stop();
  const flowingAt = performance.now();
  await traffic.everywhere();

  // Whatever the other nodes accepted is delivered too, also to those whose inboxes were put back to an older state.
  const lostSlots = { from: Math.floor((which * 16_384) / 3), to: Math.floor(((which + 1) * 16_384) / 3) - 1 };
  const safe = traffic.sent.filter(({ sentAt, channel }) => {
    const slot = keySlot(tagOf(partitionOf(channel, 16), 16));
    return sentAt > promotedAt || slot < lostSlots.from || slot > lostSlots.to;
  });
  await until(
    'everything else was shown',
    WITHIN_MS,
    () => traffic.wrong(safe),
    (wrong) => wrong.length === 0,
  );
  process.stderr.write(
    `promoted ${((promotedAt - killedAt) / 1000).toFixed(1)} s after the kill, all accepted ` +
      `${((flowingAt - promotedAt) / 1000).toFixed(1)} s later, all shown ` +
      `${((performance.now() - flowingAt) / 1000).toFixed(1)} s later; ${traffic.sent.length} sent, ` +
      `${traffic.sent.length - safe.length} of them with the dead primary: ${traffic.wrong().length} deliveries lost\n`,
  );
  if (behind) {
    // It was: numbers that the dead primary had given out were given out again, and both messages were shown.
    const numbers = new Set(traffic.sent.map(({ channel, seq }) => `${channel} ${seq}`));
    expect(numbers.size).toBeLessThan(traffic.sent.length);
  }
  expect(traffic.refused).toEqual([]);
  for (const { address } of [...gateways, ...workers]) {
    const status = async () => (await fetch(`${address}/readyz`)).status;
    await until('ready again', WITHIN_MS, status, (code) => code === 200);
  }
  for (const role of ['fanout', 'archiver']) {
    const held = () => leases(role);
    await until('all partitions are held', WITHIN_MS, held, (counts) => counts.every((n) => n === 8));
  }
  expect(deployment.processes.size).toBe(4);
  for (const [channel, members] of traffic.channels) {
    const reader = traffic.clients[traffic.users.indexOf(members[0]!)]!;
    const history = await reader.history(channel, { limit: 200 });
    expect(history.complete_to).toBe(history.last_seq);
    const ids = new Set(history.messages.map(({ id }) => id));
    expect(safe.filter((sent) => sent.channel === channel && !ids.has(sent.id))).toEqual([]);
  }
  await traffic.close();
}
