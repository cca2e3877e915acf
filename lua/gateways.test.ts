import { expect, test } from 'vitest';
import { attached, dump, keys, nowMs, useStore } from './harness.ts';

const store = useStore();
const BOB = keys.partitionOf('bob');
const OTHER = (BOB + 1) % 16;
const lease = (p = BOB) => keys.gatewayLease(p, 'gw1');
const renew = (partitions = [BOB]) => store.presence.renewGateway('gw1', partitions, 30_000);

test('a lease keeps since when it is held; one that had gone is another one', async () => {
  const [first, other] = await renew([BOB, OTHER]);
  expect(Math.abs(Number(first?.since) - (await nowMs(store.redis)))).toBeLessThan(1000);
  expect(first).toEqual(other);
  expect(await store.redis.pttl(lease())).toBeGreaterThan(29_000);
  await store.redis.pexpire(lease(), 500);
  while ((await nowMs(store.redis)) <= Number(first?.since));
  expect(await renew()).toEqual([first]);
  expect(await store.redis.pttl(lease())).toBeGreaterThan(29_000);
  expect(Number(await store.redis.hget(keys.gateways(BOB), 'gw1'))).toBeGreaterThan(Number(first?.since));

  await store.redis.del(lease());
  const [again, kept] = await renew([BOB, OTHER]);
  expect(Number(again?.since)).toBeGreaterThan(Number(first?.since));
  expect(kept).toEqual(first);
});

test('renewing tells how many sessions are registered, and the floor', async () => {
  expect(await renew()).toMatchObject([{ served: 0, floor: '' }]);
  await attached(store.verbs, 'bob', 'phone');
  await attached(store.verbs, 'bob', 'laptop');
  await store.redis.hset(keys.cursor(BOB), 'floor', '7-0');
  expect(await renew()).toMatchObject([{ served: 2, floor: '7-0' }]);
});

test.each(['lease', 'gateways', 'served', 'cursor'] as const)(
  '%s of the wrong type: renewed all the same',
  async (kind) => {
    const names = { gateways: keys.gateways(BOB), served: keys.served(BOB, 'gw1'), cursor: keys.cursor(BOB) };
    if (kind === 'lease') await store.redis.sadd(lease(), 'x');
    else await store.redis.set(names[kind], 'x');
    await renew([OTHER, BOB]);
    expect(await store.redis.pttl(lease())).toBeGreaterThan(29_000);
  },
);

test('the roll call: all gateways of each partition, with and without lease', async () => {
  await renew([BOB, OTHER]);
  await store.presence.renewGateway('gw2', [BOB], 30_000);
  await store.redis.del(lease());
  const [here, there] = await store.presence.rollCall([BOB, OTHER]);
  const now = await nowMs(store.redis);
  expect(here?.map(({ gateway, leased }) => [gateway, leased]).sort()).toEqual([
    ['gw1', false],
    ['gw2', true],
  ]);
  expect(there).toEqual([{ gateway: 'gw1', leased: true, renewedAt: expect.any(Number) }]);
  for (const { renewedAt } of [...(here ?? []), ...(there ?? [])]) expect(now - renewedAt).toBeLessThan(1000);
  expect(await store.presence.rollCall([(BOB + 2) % 16])).toEqual([[]]);
});

test('a gateway that stops is out at once when nobody is registered with it, else it is left to the reaper', async () => {
  await renew([BOB, OTHER]);
  await attached(store.verbs, 'bob');
  expect(await store.presence.leaveGateway('gw1', OTHER, { stopping: true })).toBe(true);
  expect(await store.presence.leaveGateway('gw1', BOB, { stopping: true })).toBe(false);
  expect(await store.redis.exists(lease(), lease(OTHER), keys.gateways(OTHER))).toBe(0);
  expect(await store.redis.hkeys(keys.gateways(BOB))).toEqual(['gw1']);
  await store.verbs.detach({ user: 'bob', device: 'phone', session: 'bob-phone-gw1', gateway: 'gw1' });
  expect(await store.presence.leaveGateway('gw1', BOB, { stopping: false })).toBe(true);
  expect(await store.redis.exists(keys.gateways(BOB))).toBe(0);
  expect(await store.presence.leaveGateway('gw1', BOB, { stopping: false })).toBe(true);
});

test('a gateway that has its lease again is not taken out by the reaper', async () => {
  await renew();
  const before = await dump(store.redis);
  expect(await store.presence.leaveGateway('gw1', BOB, { stopping: false })).toBe(false);
  expect(await dump(store.redis)).toEqual(before);
});

test('a session that is attached before the first renewal can be found by the reaper', async () => {
  await attached(store.verbs, 'bob');
  expect(await store.presence.rollCall([BOB])).toMatchObject([[{ gateway: 'gw1', leased: false }]]);
  expect(await store.presence.served(BOB, 'gw1', 10)).toEqual([
    { user: 'bob', device: 'phone', session: 'bob-phone-gw1' },
  ]);
});
