import { expect, test } from 'vitest';
import { attached, DAY_MS, dump, keys, nowMs, unseenFor, useStore } from './harness.ts';

const store = useStore();
const session = (user: string, gateway = 'gw1') => ({ user, device: 'phone', session: `${user}-phone-${gateway}` });
const reassert = (...users: string[]) =>
  store.verbs.reassert(
    'gw1',
    users.map((user) => session(user)),
  );

test('nothing was missing: the device is seen, the inbox lives on', async () => {
  await attached(store.verbs, 'bob');
  const record = await store.redis.hget(keys.devices('bob'), 'device:phone');
  await unseenFor(store.redis, 'bob', 'phone', DAY_MS);
  await store.redis.pexpire(keys.inbox('bob'), 60_000);
  const before = await nowMs(store.redis);
  expect(await reassert('bob')).toEqual([0]);
  const [acked, seen] = ((await store.redis.hget(keys.devices('bob'), 'device:phone')) ?? '').split(' ');
  expect(acked).toBe(record?.split(' ')[0]);
  expect(Number(seen)).toBeGreaterThanOrEqual(before);
  expect(await store.redis.hget(keys.devices('bob'), 'seen')).toBe(seen);
  expect(await store.redis.pttl(keys.inbox('bob'))).toBeGreaterThan(6 * DAY_MS);
});

test('a lost registration is put back; a successor is not touched; a broken user stops nobody', async () => {
  for (const user of ['ann', 'ben', 'eve', 'joe', 'zoe']) await attached(store.verbs, user);
  await store.redis.del(keys.sessions('ann'));
  await attached(store.verbs, 'ben', 'phone', 'gw2');
  await store.redis.set(keys.sessions('eve'), 'x');
  await store.redis.set(keys.devices('joe'), 'x');
  const ben = await store.redis.hgetall(keys.devices('ben'));
  expect(await reassert('ann', 'ben', 'eve', 'joe', 'zoe')).toEqual([1, 2, 3, 3, 0]);
  expect(await store.redis.hgetall(keys.sessions('ann'))).toEqual({ phone: 'gw1 ann-phone-gw1' });
  expect(await store.redis.hgetall(keys.sessions('ben'))).toEqual({ phone: 'gw2 ben-phone-gw2' });
  expect(await store.redis.hgetall(keys.devices('ben'))).toEqual(ben);
});

test('a device that is not known any more has to attach again', async () => {
  await attached(store.verbs, 'bob');
  await store.redis.del(keys.devices('bob'));
  const before = await dump(store.redis);
  expect(await reassert('bob')).toEqual([4]);
  expect(await dump(store.redis)).toEqual(before);
});
