import { expect, test } from 'vitest';
import { parsePresence } from '../lib/redis/presence-verbs.ts';
import { until } from '../ops/until.ts';
import { attached, dump, keys, nowMs, useStore } from './harness.ts';

const store = useStore();
const BOB = keys.partitionOf('bob');
const presence = async (user = 'bob') => (await store.presence.presenceOf([user]))[0];
const leaving = () => store.redis.zscore(keys.leaving(BOB), 'bob').then((at) => at && Number(at));
const served = (gateway = 'gw1') => store.redis.smembers(keys.served(BOB, gateway));
const detach = (device = 'phone', gateway = 'gw1', endedAt?: number) => {
  const session = { user: 'bob', device, session: `bob-${device}-${gateway}`, gateway };
  return store.verbs.detach(endedAt === undefined ? session : { ...session, endedAt });
};
const settle = (graceMs = 0) => store.presence.settle(BOB, graceMs, ['bob']);
const reassert = async (device = 'phone', gateway = 'gw1') => {
  const record = (await store.redis.hget(keys.devices('bob'), `device:${device}`)) ?? '';
  const session = { user: 'bob', device, session: `bob-${device}-${gateway}`, offset: record.split(' ')[0] ?? '' };
  return store.verbs.reassert(gateway, [session]);
};

/** What is published of bob from now on. */
async function listen() {
  const subscriber = store.redis.duplicate();
  const heard: string[] = [];
  subscriber.on('smessage', (_channel, message) => void heard.push(message));
  await subscriber.ssubscribe(keys.presence('bob'));
  /** All that was published so far, without what was published when. */
  const statuses = async () => {
    await store.redis.spublish(keys.presence('bob'), 'the end');
    await until('all was heard', 2000, () => heard.at(-1) === 'the end');
    return heard.map((message) => parsePresence(message)?.status).filter((status) => status !== undefined);
  };
  return { heard, statuses, close: () => subscriber.disconnect() };
}

test('the first session makes online, the last that ends makes offline after the grace: told once each', async () => {
  const { heard, statuses, close } = await listen();
  expect(await presence()).toEqual({ status: 'offline', since: null });
  const first = await attached(store.verbs, 'bob', 'phone', 'gw1');
  const second = await attached(store.verbs, 'bob', 'laptop', 'gw2');
  expect([first.online, second.online]).toEqual([true, false]);
  const { since } = (await presence())!;
  expect(Math.abs((since ?? 0) - (await nowMs(store.redis)))).toBeLessThan(1000);

  await detach('phone', 'gw1');
  expect([await leaving(), await settle()]).toEqual([null, 0]);
  await detach('laptop', 'gw2');
  const ended = await leaving();
  expect(await presence()).toEqual({ status: 'online', since });
  expect(await settle(60_000)).toBe(0);
  expect(await leaving()).toBe(ended);
  expect([await settle(), await settle()]).toEqual([1, 0]);
  expect(await presence()).toEqual({ status: 'offline', since: ended });
  expect(await leaving()).toBe(null);
  expect(await statuses()).toEqual(['online', 'offline']);
  expect(heard.slice(0, 2).map((message) => parsePresence(message)?.since)).toEqual([since, ended]);
  close();
});

test('back within the grace: nothing is told, and online since before', async () => {
  await attached(store.verbs, 'bob', 'phone', 'gw1');
  const before = await presence();
  const { statuses, close } = await listen();
  await detach();
  expect((await attached(store.verbs, 'bob', 'phone', 'gw2')).online).toBe(false);
  expect([await leaving(), await settle()]).toEqual([null, 0]);
  expect(await presence()).toEqual(before);
  expect(await statuses()).toEqual([]);
  close();
});

test('settling looks again: whoever is back stays online, though `leaving` still names them', async () => {
  await attached(store.verbs, 'bob');
  await store.redis.zadd(keys.leaving(BOB), 1, 'bob');
  expect(await settle()).toBe(0);
  expect(await presence()).toMatchObject({ status: 'online' });
  expect(await leaving()).toBe(null);
});

test('repeated, nothing changes: attach, detach, settle', async () => {
  await attached(store.verbs, 'bob');
  await detach();
  const left = await dump(store.redis);
  expect(await detach()).toBe('not');
  expect(await dump(store.redis)).toEqual(left);
  await settle();
  const settled = await dump(store.redis);
  expect(await settle()).toBe(0);
  expect(await detach()).toBe('not');
  expect(await dump(store.redis)).toEqual(settled);
});

test('who is due: in their partitions, only when the grace is over, at most so many', async () => {
  const others = keys.partitionOf('ann');
  await attached(store.verbs, 'bob');
  await attached(store.verbs, 'ann');
  await store.redis.zadd(keys.leaving(others), 1, 'ann', 2, 'ben');
  await detach();
  expect(await store.presence.due([BOB, others], 60_000, 10)).toEqual([[], ['ann', 'ben']]);
  expect(await store.presence.due([BOB, others], 0, 1)).toEqual([['bob'], ['ann']]);
});

test('the index of a gateway has its sessions, and those only', async () => {
  await attached(store.verbs, 'bob', 'phone', 'gw1');
  await attached(store.verbs, 'bob', 'laptop', 'gw1');
  await attached(store.verbs, 'bob', 'phone', 'gw2');
  expect((await served()).sort()).toEqual(['bob laptop bob-laptop-gw1', 'bob phone bob-phone-gw1']);
  expect(await served('gw2')).toEqual(['bob phone bob-phone-gw2']);
  expect(await detach('phone', 'gw1')).toBe('not'); // replaced, and closed by its gateway
  expect(await served()).toEqual(['bob laptop bob-laptop-gw1']);
  expect(Object.keys(await store.redis.hgetall(keys.gateways(BOB))).sort()).toEqual(['gw1', 'gw2']);
  await detach('laptop', 'gw1');
  expect(await leaving()).toBe(null);
  await detach('phone', 'gw2');
  expect([await served(), await served('gw2')]).toEqual([[], []]);
});

test('the reaper does nothing while the gateway has a lease', async () => {
  await attached(store.verbs, 'bob');
  await store.presence.renewGateway('gw1', [BOB], 30_000);
  const before = await dump(store.redis);
  expect(await detach('phone', 'gw1', 1)).toBe('refused');
  expect(await dump(store.redis)).toEqual(before);
  await store.redis.del(keys.gatewayLease(BOB, 'gw1'));
  expect(await detach('phone', 'gw1', 1)).toBe('detached');
});

test('reaped: last seen at the last renewal of the gateway, or what was heard of the user later', async () => {
  await attached(store.verbs, 'bob');
  const seen = Number(await store.redis.hget(keys.devices('bob'), 'seen'));
  await detach('phone', 'gw1', seen - 5000);
  expect(await leaving()).toBe(seen);
  await attached(store.verbs, 'bob');
  await store.redis.hset(keys.devices('bob'), 'device:phone', '0-0 1000', 'seen', 1000);
  await detach('phone', 'gw1', 5000);
  expect(await store.redis.hmget(keys.devices('bob'), 'device:phone', 'seen')).toEqual(['0-0 5000', '5000']);
  expect(await leaving()).toBe(5000);
  await attached(store.verbs, 'bob');
  await detach('phone', 'gw1', (await nowMs(store.redis)) + 60_000);
  expect(Number(await leaving())).toBeLessThanOrEqual(await nowMs(store.redis)); // never in the future
});

test('forgotten presence reads as offline, and asserting the session puts all of it back', async () => {
  await attached(store.verbs, 'bob');
  const all = [
    ...[keys.presence('bob'), keys.served(BOB, 'gw1'), keys.gateways(BOB)],
    ...[keys.sessions('bob'), keys.leaving(BOB)],
  ];
  await store.redis.del(...all);
  expect(await presence()).toEqual({ status: 'offline', since: null });
  expect(await reassert()).toEqual([1]);
  expect(await presence()).toMatchObject({ status: 'online' });
  expect(await served()).toEqual(['bob phone bob-phone-gw1']);
  expect(await store.redis.hkeys(keys.gateways(BOB))).toEqual(['gw1']);
  expect(await store.redis.hget(keys.sessions('bob'), 'phone')).toBe('gw1 bob-phone-gw1');
  const before = await dump(store.redis);
  expect(await reassert()).toEqual([0]);
  const { [keys.devices('bob')]: _, ...rest } = await dump(store.redis);
  delete before[keys.devices('bob')];
  expect(rest).toEqual(before);
});

test('a session that was reaped by mistake and is asserted: online again', async () => {
  await attached(store.verbs, 'bob');
  const { statuses, close } = await listen();
  await detach('phone', 'gw1', 1);
  await settle();
  expect(await reassert()).toEqual([1]);
  expect(await settle()).toBe(0);
  expect(await statuses()).toEqual(['offline', 'online']);
  close();
});

test('a session whose device is served elsewhere is not put back', async () => {
  await attached(store.verbs, 'bob', 'phone', 'gw1');
  await attached(store.verbs, 'bob', 'phone', 'gw2');
  const before = await dump(store.redis);
  expect(await reassert('phone', 'gw1')).toEqual([2]);
  expect(await dump(store.redis)).toEqual(before);
});

test.each(['presence', 'leaving', 'served', 'gateways'] as const)(
  '%s of the wrong type keeps nobody from their session',
  async (kind) => {
    const name = { presence: keys.presence('bob'), leaving: keys.leaving(BOB), served: keys.served(BOB, 'gw1') };
    await store.redis.set({ ...name, gateways: keys.gateways(BOB) }[kind], 'x');
    await attached(store.verbs, 'bob');
    expect(await reassert()).toEqual([0]);
    expect(await detach()).toBe('detached');
    expect(await store.redis.exists(keys.sessions('bob'))).toBe(0);
    expect(await presence()).toMatchObject({ status: kind === 'presence' ? 'offline' : 'online' });
  },
);

test('sessions or presence of the wrong type do not hold up the others who are due', async () => {
  const neighbour = Array.from({ length: 500 }, (_, i) => `user-${i}`).find((u) => keys.partitionOf(u) === BOB) ?? '';
  await store.redis.set(keys.sessions('bob'), 'x');
  await store.redis.zadd(keys.leaving(BOB), 1, 'bob', 1, neighbour);
  expect(await store.presence.settle(BOB, 0, ['bob', neighbour])).toBe(2);
  await store.redis.set(keys.presence('bob'), 'x');
  await store.redis.zadd(keys.leaving(BOB), 1, 'bob', 1, neighbour);
  expect(await store.presence.settle(BOB, 0, ['bob', neighbour])).toBe(0);
  expect(await store.redis.exists(keys.leaving(BOB))).toBe(0);
});

test('only a message of a presence channel is read as one', () => {
  expect(parsePresence('online 5')).toEqual({ status: 'online', since: 5 });
  expect(['', 'online', 'away 5', 'offline 5 6'].map(parsePresence)).toEqual(Array(4).fill(undefined));
});
