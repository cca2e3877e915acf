import { beforeEach, expect, test } from 'vitest';
import {
  attached,
  block,
  DAY_MS,
  delivery,
  dump,
  inboxOf,
  keys,
  nowMs,
  outOfMemory,
  unseenFor,
  useStore,
} from './harness.ts';

const store = useStore();
const BOB = keys.partitionOf('bob');
const deliver = (from: number, n: number) => {
  const entries = Array.from({ length: n }, (_, i) => delivery(`${from + i}-0`, { seq: from + i, to: ['bob'] }));
  return store.verbs.deliver([block(BOB, from === 1 ? '0-0' : `${from - 1}-0`, entries)]);
};
const ack = async (offset = '', device = 'phone', user = 'bob') =>
  (await store.verbs.ack([{ user, device, offset }])).raised;
const offsets = async () => (await inboxOf(store.redis, 'bob')).map((e) => e.offset);
const ackedBy = async (name: string) => (await store.redis.hget(keys.devices('bob'), `device:${name}`))?.split(' ')[0];
const trimmed = () => store.redis.hget(keys.devices('bob'), 'trimmed');

beforeEach(async () => {
  await attached(store.verbs, 'bob');
});

test('cumulative: raised, never lowered, and the same one again is nothing', async () => {
  await deliver(1, 3);
  const [one, two] = await offsets();
  expect(await ack(two)).toBe(1);
  expect(await ack(two)).toBe(0);
  expect(await ack(one)).toBe(0);
  expect(await ackedBy('phone')).toBe(two);
});

test('ids are compared as numbers', async () => {
  await store.redis.hset(keys.devices('bob'), 'device:phone', '9-9 1');
  expect(await ack('9-10')).toBe(1);
  expect(await ack('10-0')).toBe(1);
  expect(await ack('9-11')).toBe(0);
});

test('a few acked entries stay, more than 32 are trimmed at the next ack', async () => {
  await deliver(1, 32);
  const before = await trimmed();
  await ack((await offsets()).at(-1));
  expect(await offsets()).toHaveLength(32);
  expect(await trimmed()).toBe(before);
  await deliver(33, 1);
  const last = (await offsets()).at(-1);
  await ack(last);
  expect(await offsets()).toHaveLength(0);
  expect(await trimmed()).toBe(last);
  expect(await attached(store.verbs, 'bob')).toMatchObject({ position: last, tail: last, gap: false });
});

test('a device that had few entries does not look; the next that had more trims', async () => {
  await deliver(1, 40);
  const all = await offsets();
  expect(await store.verbs.ack([{ user: 'bob', device: 'phone', offset: all[38] ?? '', few: true }])).toMatchObject({
    raised: 1,
  });
  expect(await offsets()).toEqual(all);
  const both = { user: 'bob', device: 'phone', offset: all[39] ?? '', untold: true };
  expect(await store.verbs.ack([both])).toMatchObject({ raised: 1 });
  expect(await offsets()).toEqual([]);
});

test('only what every live device has acked is trimmed; a dormant one holds nothing back', async () => {
  await attached(store.verbs, 'bob', 'laptop');
  await deliver(1, 40);
  const all = await offsets();
  await ack(all[9], 'laptop');
  await ack(all[39], 'phone');
  expect(await offsets()).toEqual(all.slice(10));
  expect(await trimmed()).toBe(all[9]);
  await deliver(41, 20);
  await unseenFor(store.redis, 'bob', 'laptop', 7 * DAY_MS + 1000);
  const last = (await offsets()).at(-1);
  await ack(last, 'phone');
  expect(await offsets()).toEqual([]);
  expect(await trimmed()).toBe(last);
  expect(await attached(store.verbs, 'bob', 'laptop')).toMatchObject({ gap: true });
});

test('trimming never lowers `trimmed`', async () => {
  await deliver(1, 40);
  const high = `${(await nowMs(store.redis)) + 60_000}-0`;
  await store.redis.hset(keys.devices('bob'), 'trimmed', high);
  await ack((await offsets())[35]);
  expect(await trimmed()).toBe(high);
});

test('an unknown device, an unknown user and what is no offset are passed over; the others of the batch count', async () => {
  await deliver(1, 1);
  const [one = ''] = await offsets();
  const before = await dump(store.redis);
  const nothing = [
    { user: 'bob', device: 'none', offset: one },
    { user: 'nobody', device: 'phone', offset: one },
    { user: 'bob', device: 'phone', offset: 'x' },
  ];
  expect(await store.verbs.ack(nothing)).toMatchObject({ raised: 0 });
  expect(await dump(store.redis)).toEqual(before);
  expect(await store.verbs.ack([...nothing, { user: 'bob', device: 'phone', offset: one }])).toMatchObject({
    raised: 1,
  });
});

test('a wrong type in the middle of a batch is passed over', async () => {
  for (const user of ['ann', 'eve', 'joe']) await attached(store.verbs, user);
  await store.redis.set(keys.devices('eve'), 'x');
  await store.redis.set(keys.inbox('joe'), 'x');
  const offset = `${(await nowMs(store.redis)) + 5}-0`;
  const batch = ['ann', 'eve', 'joe', 'bob'].map((user) => ({ user, device: 'phone', offset }));
  expect(await store.verbs.ack(batch)).toMatchObject({ raised: 3 });
  expect(await ackedBy('phone')).toBe(offset);
});

test('an ack counts as seen', async () => {
  await deliver(1, 1);
  await unseenFor(store.redis, 'bob', 'phone', DAY_MS);
  const before = await nowMs(store.redis);
  await ack((await offsets())[0]);
  expect(Number(await store.redis.hget(keys.devices('bob'), 'seen'))).toBeGreaterThanOrEqual(before);
});

test('out of memory: an error, to be repeated', async () => {
  await deliver(1, 1);
  const [one] = await offsets();
  await expect(outOfMemory(store.redis, () => ack(one))).rejects.toThrow('OOM');
  expect(await ack(one)).toBe(1);
});

test('untold: an ack of a user who is alone is stored; with another device connected it waits until that one was told', async () => {
  for (const [user, device] of [
    ['ann', 'phone'],
    ['ann', 'laptop'],
    ['eve', 'laptop'],
  ] as const) {
    await attached(store.verbs, user, device);
  }
  const offset = `${(await nowMs(store.redis)) + 5}-0`;
  const one = { device: 'phone', offset, untold: true };
  const bob = { ...one, user: 'bob' };
  const ann = { ...one, user: 'ann' };
  const before = await store.redis.hgetall(keys.devices('ann'));
  // Eve's phone is gone by now, though not its last ack: the laptop is there to be told.
  const batch = [
    bob,
    ann,
    { ...ann, untold: false, device: 'laptop' },
    { ...one, user: 'eve' },
    { ...bob, user: 'none' },
  ];
  expect(await store.verbs.ack(batch)).toEqual({ raised: 2, company: new Set([1, 3]) });
  expect(await ackedBy('phone')).toBe(offset);
  const after = await store.redis.hgetall(keys.devices('ann'));
  expect(after['device:phone']).toBe(before['device:phone']);
  expect(after['device:laptop']).toMatch(new RegExp(`^${offset} `));
  expect(await store.verbs.ack([{ ...ann, untold: false }])).toEqual({ raised: 1, company: new Set() });
});

test('untold: with company also when it raises nothing, since what it is of may not have been told', async () => {
  await attached(store.verbs, 'bob', 'laptop');
  const offset = `${(await nowMs(store.redis)) + 5}-0`;
  await ack(offset);
  const again = { user: 'bob', device: 'phone', offset, untold: true };
  expect(await store.verbs.ack([again])).toEqual({ raised: 0, company: new Set([0]) });
});

test('untold: sessions of the wrong type are nobody’s', async () => {
  await store.redis.set(keys.sessions('bob'), 'x');
  const offset = `${(await nowMs(store.redis)) + 5}-0`;
  const reply = await store.verbs.ack([{ user: 'bob', device: 'phone', offset, untold: true }]);
  expect(reply).toEqual({ raised: 1, company: new Set() });
});
