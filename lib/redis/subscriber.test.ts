import keySlot from 'cluster-key-slot';
import { Cluster, Redis } from 'ioredis';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { TcpProxy } from '../../ops/proxy.ts';
import { type RedisCluster, type RedisClusterNode, startRedisCluster } from '../../ops/redis/cluster.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { tagOf } from '../partitions/slices.ts';
import { connect, type RedisStore } from './connect.ts';
import type { Subscriber } from './subscriber.ts';

const logger = pino({ level: 'silent' });
const PARTITIONS = 16;
const channelIn = (partition: number, name = 'news') => `${name}:{${tagOf(partition, PARTITIONS)}}`;

function listen(store: RedisStore) {
  const heard: string[] = [];
  const renewed: string[] = [];
  const failures: unknown[] = [];
  const subscriber: Subscriber = store.subscriber({
    message: (channel, text) => void heard.push(`${channel} ${text}`),
    renewed: (channels) => void renewed.push(...channels),
    failed: (error) => void failures.push(error),
  });
  return { subscriber, heard, renewed, failures };
}

describe('on one server', () => {
  let server: RedisServer;
  let proxy: TcpProxy;
  let store: RedisStore;
  let publisher: Redis;

  beforeAll(async () => {
    server = await startRedis({ appendOnly: false });
    proxy = await TcpProxy.start(() => [server]);
    store = await connect(`redis://${proxy.address}`, { logger, name: 'subscriber-test' });
    publisher = new Redis(server.url);
  });
  afterAll(async () => {
    await store?.close();
    publisher?.disconnect();
    await proxy?.close();
    await server?.stop();
  });

  const subscribers = async (channel: string) => (await publisher.pubsub('SHARDNUMSUB', channel))[1];

  test('what is said is heard once the subscription resolves, and as long as anybody has subscribed', async () => {
    const { subscriber, heard, renewed } = listen(store);
    const [a, b] = [channelIn(0), channelIn(1)];
    await subscriber.subscribe([a, b], 2000);
    await subscriber.subscribe([a], 2000);
    expect([subscriber.hears(a), subscriber.hears(channelIn(2))]).toEqual([true, false]);
    await publisher.spublish(a, 'one');
    subscriber.unsubscribe([a, b]);
    await until(
      'b is let go',
      5000,
      () => subscribers(b),
      (n) => n === 0,
    );
    await publisher.spublish(a, 'two');
    await publisher.spublish(b, 'nobody hears');
    await until('both were heard', 5000, () => heard.length === 2);
    expect(heard).toEqual([`${a} one`, `${a} two`]);
    subscriber.unsubscribe([a, 'never subscribed']);
    await until(
      'the connection is let go',
      5000,
      async () => !/-subscriber /.test(String(await publisher.client('LIST'))),
    );
    // And made anew when there is something to hear again, at once.
    await subscriber.subscribe([b], 2000);
    await publisher.spublish(b, 'three');
    await until('heard', 5000, () => heard.includes(`${b} three`));
    expect(renewed).toEqual([]);
    subscriber.close();
  });

  test('thousands of channels are subscribed, and a quick change of mind ends as wished', async () => {
    const { subscriber, heard } = listen(store);
    const all = Array.from({ length: 3000 }, (_, i) => channelIn(i % PARTITIONS, `c${i}`));
    const [first = ''] = all;
    const subscribing = subscriber.subscribe(all, 5000);
    subscriber.unsubscribe([first]);
    void subscriber.subscribe([first], 5000);
    subscriber.unsubscribe([first]);
    await subscriber.subscribe([first], 5000);
    await subscribing;
    for (const channel of all) void publisher.spublish(channel, 'x');
    await until('each was heard', 5000, () => heard.length === all.length);
    subscriber.close();
  });

  test('a connection that breaks is made again, and what may have been missed is told', async () => {
    const { subscriber, heard, renewed } = listen(store);
    const [a, b] = [channelIn(0), channelIn(1)];
    await subscriber.subscribe([a, b], 2000);
    proxy.refuse(true);
    proxy.cut();
    await until(
      'nobody listens',
      5000,
      () => subscribers(a),
      (n) => n === 0,
    );
    await until('so it knows', 5000, () => !subscriber.hears(a));
    await publisher.spublish(a, 'lost');
    const late = channelIn(3);
    const began = performance.now();
    await subscriber.subscribe([late], 100);
    expect(performance.now() - began).toBeLessThan(2000);
    expect(subscriber.hears(late)).toBe(false);
    proxy.refuse(false);
    await until('all are heard again', 10_000, () => renewed.length === 3);
    expect(renewed.toSorted()).toEqual([a, b, late].toSorted());
    expect([a, b, late].map((channel) => subscriber.hears(channel))).toEqual([true, true, true]);
    await publisher.spublish(a, 'again');
    await until('heard', 5000, () => heard.length === 1);
    expect(heard).toEqual([`${a} again`]);
    subscriber.close();
  });

  test('a server that freezes, and keeps its sockets open, is noticed', async () => {
    const { subscriber, renewed, failures } = listen(store);
    const a = channelIn(0);
    await subscriber.subscribe([a], 2000);
    server.kill('SIGSTOP');
    try {
      await until('noticed', 10_000, () => failures.length > 0);
      expect(subscriber.hears(a)).toBe(false);
    } finally {
      server.kill('SIGCONT');
    }
    await until('heard again', 10_000, () => renewed.includes(a));
    subscriber.close();
  });
});

describe('on a cluster', () => {
  let cluster: RedisCluster;
  let store: RedisStore;
  const opened: Redis[] = [];

  beforeAll(async () => {
    cluster = await startRedisCluster({ primaries: 3, replicasPerPrimary: 1, appendOnly: false });
    store = await connect(cluster.url, { logger, name: 'subscriber-test' });
  });
  afterEach(() => {
    for (const client of opened.splice(0)) client.disconnect();
  });
  afterAll(async () => {
    await store?.close();
    await cluster?.stop();
  });

  const to = (node: RedisClusterNode) => {
    const client = new Redis({ host: node.host, port: node.port, maxRetriesPerRequest: 1 });
    opened.push(client);
    return client;
  };
  const all = Array.from({ length: PARTITIONS }, (_, p) => channelIn(p));
  const say = async (channel: string, text: string) => store.command.spublish(channel, text);

  test('channels of all partitions are heard, those of a slot that moves again after the move', async () => {
    const { subscriber, heard, renewed } = listen(store);
    await subscriber.subscribe(all, 5000);
    for (const channel of all) await say(channel, 'before');
    await until('each was heard', 5000, () => heard.length === all.length);

    const primaries = cluster.nodes.filter(({ role }) => role === 'primary');
    const channel = channelIn(0);
    const slot = await to(primaries[0]!).cluster('KEYSLOT', channel);
    const owner = await to(primaries[0]!).cluster('MYID');
    expect(owner).toBe(primaries[0]?.id);
    const [from, target] = [to(primaries[0]!), to(primaries[1]!)];
    await target.cluster('SETSLOT', slot, 'IMPORTING', primaries[0]!.id);
    await from.cluster('SETSLOT', slot, 'MIGRATING', primaries[1]!.id);
    for (const client of [target, from, to(primaries[2]!)])
      await client.cluster('SETSLOT', slot, 'NODE', primaries[1]!.id);
    await until('heard at the new owner', 15_000, () => renewed.includes(channel) && subscriber.hears(channel));
    expect((await target.pubsub('SHARDNUMSUB', channel))[1]).toBe(1);
    await until('all are heard', 10_000, () => all.every((one) => subscriber.hears(one)));
    heard.length = 0;
    for (const one of all) await say(one, 'after');
    await until('each was heard', 5000, () => heard.length === all.length);
    expect(heard.toSorted()).toEqual(all.map((one) => `${one} after`).toSorted());
    subscriber.close();
  });

  test('when a primary dies its channels are heard at the replica that takes its place', async () => {
    const { subscriber, heard, renewed } = listen(store);
    await subscriber.subscribe(all, 5000);
    const victim = cluster.nodes.filter(({ role }) => role === 'primary')[2]!;
    const lost = all.filter((channel) => isAt(store, channel, victim));
    expect(lost.length).toBeGreaterThan(2);
    victim.kill('SIGKILL');
    await until('its channels are heard again', 30_000, () => lost.every((one) => renewed.includes(one)));
    await until('all are heard', 10_000, () => all.every((one) => subscriber.hears(one)));
    heard.length = 0;
    for (const one of all)
      await until(
        'said',
        10_000,
        () => say(one, 'after').catch(() => undefined),
        (n) => n !== undefined,
      );
    await until('each was heard', 5000, () => new Set(heard).size === all.length);
    subscriber.close();
  }, 60_000);
});

function isAt({ command }: RedisStore, channel: string, { host, port }: RedisClusterNode): boolean {
  return command instanceof Cluster && command.slots[keySlot(channel)]?.[0] === `${host}:${port}`;
}
