import { beforeEach, expect, test } from 'vitest';
import { attached, block, delivery, dump, inboxOf, keys, outOfMemory, rings, useStore } from './harness.ts';

const store = useStore();
const BOB = keys.partitionOf('bob');
const DM = 'dm:alice:bob';
const read = (seq: number, channel = DM, device = 'phone') =>
  store.receipts.read({ user: 'bob', channel, seq, device });
const conversation = () => store.redis.hget(keys.conversations('bob'), DM);
const receipts = async () => (await inboxOf(store.redis, 'bob')).filter((e) => e.type === 'receipt');

beforeEach(async () => {
  await attached(store.verbs, 'bob');
  const five = Array.from({ length: 5 }, (_, i) => delivery(`${i + 1}-0`, { seq: i + 1, to: ['bob'] }));
  await store.verbs.deliver([block(BOB, '0-0', five)]);
  await store.redis.del(keys.bell(BOB, 'gw1'));
});

test('monotonic, clamped to the last seq, and the unread count follows', async () => {
  expect(await conversation()).toBe('5 1005 5 0');
  expect(await read(2)).toEqual({ moved: true, seq: 2, unread: 3 });
  expect(await read(2)).toEqual({ moved: false, seq: 2, unread: 3 });
  expect(await read(1)).toEqual({ moved: false, seq: 2, unread: 3 });
  expect(await read(Number.MAX_SAFE_INTEGER)).toEqual({ moved: true, seq: 5, unread: 0 });
  expect(await read(6)).toEqual({ moved: false, seq: 5, unread: 0 });
  expect(await conversation()).toBe('5 1005 0 5');
});

test('0 and below move nothing', async () => {
  expect(await read(0)).toEqual({ moved: false, seq: 0, unread: 5 });
  expect(await read(-3)).toEqual({ moved: false, seq: 0, unread: 5 });
});

test("no conversation, another's, or one that was left", async () => {
  expect(await read(1, 'dm:alice:carol')).toBeUndefined();
  await store.redis.hset(keys.conversations('bob'), DM, '5 1005 5 0 left');
  const before = await dump(store.redis);
  expect(await read(1)).toBeUndefined();
  expect(await dump(store.redis)).toEqual(before);
});

test('with no other session: no receipt, no ring', async () => {
  await read(3);
  expect(await receipts()).toEqual([]);
  expect(await rings(store.redis, 'gw1')).toEqual([]);
});

test('other sessions get one receipt, and their gateways one ring each', async () => {
  await attached(store.verbs, 'bob', 'laptop', 'gw2');
  await attached(store.verbs, 'bob', 'tablet', 'gw2');
  await attached(store.verbs, 'bob', 'desk', 'gw3');
  await read(3);
  expect(await receipts()).toMatchObject([{ channel: DM, user: 'bob', delivered: '3', read: '3', via: 'phone' }]);
  expect(await rings(store.redis, 'gw1')).toEqual([]);
  expect(await rings(store.redis, 'gw2')).toEqual(['users bob']);
  expect(await rings(store.redis, 'gw3')).toEqual(['users bob']);
  await read(3);
  expect(await receipts()).toHaveLength(1);
});

test.each(['conversations', 'inbox', 'devices', 'sessions'] as const)(
  '%s of the wrong type: an error, nothing changes',
  async (kind) => {
    await attached(store.verbs, 'bob', 'laptop', 'gw2');
    await store.redis.set(keys[kind]('bob'), 'x');
    const before = await dump(store.redis);
    await expect(read(3)).rejects.toThrow('WRONGTYPE');
    expect(await dump(store.redis)).toEqual(before);
  },
);

test('out of memory: an error, and the repeat makes one receipt', async () => {
  await attached(store.verbs, 'bob', 'laptop', 'gw2');
  await expect(outOfMemory(store.redis, () => read(3))).rejects.toThrow('OOM');
  expect(await read(3)).toMatchObject({ moved: true });
  expect(await receipts()).toHaveLength(1);
});
