/**
 * One node of a cluster came back empty, and another one does not answer. Who is on the first comes in all the same, is told
 * what there is to be filled as far as anybody knows, and is told again when the other one is back.
 */
import { join } from 'node:path';
import keySlot from 'cluster-key-slot';
import { Cluster } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { keyspace } from '../../lib/keyspace/index.ts';
import { directChannel } from '../../lib/protocol/ids.ts';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import { Deployment, type MillraceProcess } from '../../ops/deployment.ts';
import { temporaryFolder } from '../../ops/reaper.ts';
import { type RedisCluster, startRedisCluster } from '../../ops/redis/cluster.ts';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';

/** Below the 5 s for which somebody waits for a list. */
const SOON_MS = 4_000;
const keys = keyspace(16);
let cluster: RedisCluster;
let store: Cluster;
let deployment: Deployment;
let gateway: MillraceProcess;

beforeAll(async () => {
  cluster = await startRedisCluster();
  store = new Cluster(cluster.nodes.map(({ host, port }) => ({ host, port })));
  const archiveUrl = `sqlite:${join(temporaryFolder('list-later'), 'archive.sqlite')}`;
  deployment = new Deployment({ redisUrl: cluster.url, archiveUrl, env: { PARTITIONS: '16' } });
  gateway = await deployment.start('gateway');
  await deployment.start('fanout', 'archiver');
}, 120_000);
afterAll(async () => {
  for (const node of cluster?.nodes ?? []) node.kill('SIGCONT');
  store?.disconnect();
  await deployment?.stop();
  await cluster?.stop();
}, 60_000);

const nodeOf = (key: string) => {
  const [owner] = store.slots[keySlot(key)] ?? [];
  return cluster.nodes.findIndex(({ host, port }) => `${host}:${port}` === owner);
};

async function send(from: string, channel: string): Promise<number> {
  const response = await fetch(`${gateway.address}/v1/messages`, {
    method: 'POST',
    headers: { authorization: `Bearer ${deployment.token(from)}`, 'content-type': 'application/json' },
    body: JSON.stringify({ channel, client_id: channel, content: 'hello' }),
  });
  expect(response.status).toBe(202);
  return ((await response.json()) as { seq: number }).seq;
}

async function isArchived(channel: string): Promise<boolean> {
  const last = (await store.hget(keys.channel(channel), 'last')) ?? ZERO;
  const position = (await store.hget(keys.positions(keys.partitionOf(channel)), 'archiver')) ?? ZERO;
  return compareIds(position, last) >= 0;
}

it('a device comes in with what can be read at once, and is told another gap when the rest is back', async () => {
  await store.ping();
  const empty = nodeOf(keys.inbox('bob'));
  const [silent, third] = [0, 1, 2].filter((node) => node !== empty) as [number, number];
  const friendOn = (node: number) => {
    const names = Array.from({ length: 200 }, (_, i) => `carol-${i}`);
    return names.find((name) => nodeOf(keys.channel(`dm:bob:${name}`)) === node)!;
  };
  const [away, there] = [friendOn(silent), friendOn(third)];
  const channels = [`dm:bob:${away}`, `dm:bob:${there}`];
  const first = await RawSession.start(deployment, gateway, 'bob');
  await send(away, channels[0]!);
  await send(there, channels[1]!);
  await until('bob has both', 20_000, () => first.of('message').length === 2);
  const { offset } = first.of('message')[1]!;
  for (const channel of channels) await until('archived', 20_000, () => isArchived(channel));
  first.socket.close();
  await first.ended;

  const victim = store.nodes('master').find(({ options }) => options.port === cluster.nodes[empty]!.port)!;
  await victim.flushall();
  cluster.nodes[silent]!.kill('SIGSTOP');
  const began = performance.now();
  const back = await RawSession.start(deployment, gateway, 'bob', { since: String(offset) });
  expect(performance.now() - began).toBeLessThan(SOON_MS);
  const both = channels.map((channel) => ({ channel, last_seq: 1 }));
  const named = () =>
    back.of('gap').map((gap) => (gap.channels as typeof both).toSorted((a, b) => (a.channel < b.channel ? -1 : 1)));
  const sorted = both.toSorted((a, b) => (a.channel < b.channel ? -1 : 1));
  expect(named()).toEqual([sorted]);

  cluster.nodes[silent]!.kill('SIGCONT');
  await until('another gap', 30_000, () => named().length > 1);
  expect(named()).toEqual([sorted, sorted]);
  const list = await fetch(`${gateway.address}/v1/conversations`, {
    headers: { authorization: `Bearer ${deployment.token('bob')}` },
  });
  const { conversations } = (await list.json()) as { conversations: { channel: string; unread: number }[] };
  expect(conversations.map(({ channel }) => channel).sort()).toEqual([...channels].sort());
  back.socket.close();
  await back.ended;
}, 120_000);

it('whoever blocks somebody with whom they share nothing but what is away comes in all the same, and may block others', async () => {
  await store.ping();
  const all = Array.from({ length: 400 }, (_, i) => `dora-${i}`);
  const user = all.find((name) => nodeOf(keys.inbox(name)) === nodeOf(keys.inbox('bob')))!;
  const empty = nodeOf(keys.inbox(user));
  const [silent, third] = [0, 1, 2].filter((node) => node !== empty) as [number, number];
  // Their own keys too, of which a block writes some.
  const strangerOn = (node: number) =>
    all.find((name) => {
      const key = keys.channel(directChannel(user, name));
      return name !== user && nodeOf(key) === node && nodeOf(keys.inbox(name)) !== silent;
    })!;
  const [blocked, other] = [strangerOn(silent), strangerOn(third)];
  const call = (method: string, path: string) =>
    fetch(gateway.address + path, { method, headers: { authorization: `Bearer ${deployment.token(user)}` } });
  expect((await call('PUT', `/v1/blocks/${blocked}`)).status).toBe(204);
  const unsaved = keys.unsaved(keys.partitionOf(user));
  await until('the archive knows', 20_000, async () => (await store.zcard(unsaved)) === 0);

  await store
    .nodes('master')
    .find(({ options }) => options.port === cluster.nodes[empty]!.port)!
    .flushall();
  cluster.nodes[silent]!.kill('SIGSTOP');
  let began = performance.now();
  const soon = () => {
    expect(performance.now() - began).toBeLessThan(SOON_MS);
    began = performance.now();
  };
  const session = await RawSession.start(deployment, gateway, user);
  soon();
  expect((await call('PUT', `/v1/blocks/${other}`)).status).toBe(204);
  soon();
  const listed = await (await call('GET', '/v1/blocks')).json();
  soon();
  expect(listed).toEqual({ blocks: [blocked, other].sort() });
  // What is said meanwhile counts: what is put back later is older.
  expect((await call('DELETE', `/v1/blocks/${other}`)).status).toBe(204);
  soon();

  cluster.nodes[silent]!.kill('SIGCONT');
  const whole = () => store.hget(keys.devices(user), 'account');
  await until('all of it is there', 30_000, whole, (account) => account === '1');
  expect(await (await call('GET', '/v1/blocks')).json()).toEqual({ blocks: [blocked] });
  expect(await store.hget(keys.channel(directChannel(user, blocked)), `blocked:${user}`)).toBe('1');
  session.socket.close();
  await session.ended;
}, 120_000);
