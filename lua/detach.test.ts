import { expect, test } from 'vitest';
import { attached, block, DAY_MS, delivery, dump, inboxOf, keys, nowMs, unseenFor, useStore } from './harness.ts';

const store = useStore();
const BOB = keys.partitionOf('bob');
const deliver = (from: number, n: number) => {
  const entries = Array.from({ length: n }, (_, i) => delivery(`${from + i}-0`, { seq: from + i, to: ['bob'] }));
  return store.verbs.deliver([block(BOB, from === 1 ? '0-0' : `${from - 1}-0`, entries)]);
};
const detach = (device = 'phone', gateway = 'gw1', endedAt?: number) => {
  const session = { user: 'bob', device, session: `bob-${device}-${gateway}`, gateway };
  return store.verbs.detach(endedAt === undefined ? session : { ...session, endedAt });
};

test('a session ends, and the device was seen until now', async () => {
  await attached(store.verbs, 'bob');
  await unseenFor(store.redis, 'bob', 'phone', DAY_MS);
  const before = await nowMs(store.redis);
  expect(await detach()).toBe('detached');
  expect(await store.redis.exists(keys.sessions('bob'))).toBe(0);
  const [, seen] = ((await store.redis.hget(keys.devices('bob'), 'device:phone')) ?? '').split(' ');
  expect(Number(seen)).toBeGreaterThanOrEqual(before);
  expect(await store.redis.hget(keys.devices('bob'), 'seen')).toBe(seen);
  expect(await detach()).toBe('not');
});

test('a late close does not remove the successor', async () => {
  await attached(store.verbs, 'bob', 'phone', 'gw1');
  await attached(store.verbs, 'bob', 'phone', 'gw2');
  const before = await dump(store.redis);
  expect(await detach('laptop')).toBe('not');
  expect(await dump(store.redis)).toEqual(before);
  expect(await detach('phone', 'gw1')).toBe('not');
  delete before[keys.served(BOB, 'gw1')]; // its own gateway serves it no more
  expect(await dump(store.redis)).toEqual(before);
  expect(await detach('phone', 'gw2')).toBe('detached');
});

test('what every live device has acked is removed, and what one has not acked stays', async () => {
  await attached(store.verbs, 'bob', 'phone');
  await attached(store.verbs, 'bob', 'laptop');
  await deliver(1, 4);
  const offsets = (await inboxOf(store.redis, 'bob')).map((e) => e.offset);
  await store.verbs.ack([
    { user: 'bob', device: 'phone', offset: offsets[3] ?? '' },
    { user: 'bob', device: 'laptop', offset: offsets[1] ?? '' },
  ]);
  expect(await inboxOf(store.redis, 'bob')).toHaveLength(4);
  await detach('phone');
  expect((await inboxOf(store.redis, 'bob')).map((e) => e.offset)).toEqual(offsets.slice(2));
  expect(await store.redis.hget(keys.devices('bob'), 'trimmed')).toBe(offsets[1]);
  // The device that is behind the trimmed part by nothing has no gap.
  expect(await attached(store.verbs, 'bob', 'laptop')).toMatchObject({ gap: false, oldest: offsets[2] });
});

test.each(['devices', 'inbox'] as const)('%s of the wrong type do not keep a session alive', async (kind) => {
  await attached(store.verbs, 'bob');
  await store.redis.set(keys[kind]('bob'), 'x');
  expect(await detach()).toBe('detached');
  expect(await store.redis.exists(keys.sessions('bob'))).toBe(0);
});

test('sessions of the wrong type: an error, nothing changes', async () => {
  await attached(store.verbs, 'bob');
  await store.redis.set(keys.sessions('bob'), 'x');
  const before = await dump(store.redis);
  await expect(detach()).rejects.toThrow('WRONGTYPE');
  expect(await dump(store.redis)).toEqual(before);
});
