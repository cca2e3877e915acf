import { expect, test } from 'vitest';
import { attached, DAY_MS, dump, keys, nowMs, unseenFor, useStore } from './harness.ts';

const store = useStore();
const session = (user: string, gateway = 'gw1') => ({ user, device: 'phone', session: `${user}-phone-${gateway}` });
async function reassert(...users: string[]) {
  const sessions = [];
  for (const user of users) {
    const record = await store.redis.hget(keys.devices(user), 'device:phone').catch(() => null);
    sessions.push({ ...session(user), offset: record?.split(' ')[0] ?? '0-0' });
  }
  return store.verbs.reassert('gw1', sessions);
}

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

test('a tail lost in a failover is a gap, and what comes next comes after what the session was sent', async () => {
  await attached(store.verbs, 'bob');
  const reached = `${(await nowMs(store.redis)) - 10}-7`;
  const sent = { ...session('bob'), offset: reached };
  await store.redis.del(keys.inbox('bob'));
  await store.redis.xadd(keys.inbox('bob'), '5-1', 'type', 'none');
  await store.redis.hset(keys.devices('bob'), 'trimmed', '4-0');
  expect(await store.verbs.reassert('gw1', [sent])).toEqual([5]);
  expect(await store.verbs.reassert('gw1', [sent])).toEqual([0]);
  const info = (await store.redis.xinfo('STREAM', keys.inbox('bob'))) as unknown;
  expect(JSON.stringify(info)).toContain(reached);
});

test('an offset from the future is a gap and moves nothing', async () => {
  await attached(store.verbs, 'bob');
  const future = { ...session('bob'), offset: `${(await nowMs(store.redis)) + 60_000}-0` };
  const before = await store.redis.dump(keys.inbox('bob'));
  expect(await store.verbs.reassert('gw1', [future])).toEqual([5]);
  expect(await store.redis.dump(keys.inbox('bob'))).toEqual(before);
});

test('a floor, or a trimmed mark, beyond what a session was sent is a gap', async () => {
  await attached(store.verbs, 'bob');
  await attached(store.verbs, 'ann');
  await store.redis.hset(keys.devices('ann'), 'trimmed', `${(await nowMs(store.redis)) + 1000}-0`);
  await store.redis.hset(keys.cursor(keys.partitionOf('bob')), 'floor', `${(await nowMs(store.redis)) + 1000}-0`);
  expect(await reassert('bob', 'ann')).toEqual([5, 5]);
});

test('a device that counted as away, as a failover left it, is told of a gap, once', async () => {
  await attached(store.verbs, 'bob');
  await unseenFor(store.redis, 'bob', 'phone', 8 * DAY_MS);
  expect(await reassert('bob')).toEqual([5]);
  expect(await reassert('bob')).toEqual([0]);
});
