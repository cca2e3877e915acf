/** raise.lua and tell.lua, and a sender's own watermarks in append.lua. */
import { beforeEach, describe, expect, test } from 'vitest';
import { compareIds } from '../lib/redis/ids.ts';
import type { RaiseInput, TellInput } from '../lib/redis/receipt-verbs.ts';
import {
  attached,
  block,
  delivery,
  dump,
  inboxOf,
  keys,
  message,
  nowMs,
  outOfMemory,
  rings,
  tick,
  useStore,
  uuid,
} from './harness.ts';

const store = useStore();
const DM = 'dm:alice:bob';
const G = 'g:crew';
const raise = (more: Partial<RaiseInput> = {}) =>
  store.receipts.raise([{ channel: DM, user: 'bob', peer: 'alice', delivered: 0, read: 0, ...more }]);
const inGroup = (user: string, more: Partial<RaiseInput> = {}) => raise({ channel: G, user, peer: undefined, ...more });
const direct = (user: string) => store.redis.hget(keys.channel(DM), `receipt:${user}`);
const group = (user: string) => store.redis.hget(keys.receipts(G), user);
const send = async (from: string, count: number, channel = DM) => {
  for (let i = 0; i < count; i++) await store.verbs.append(message(from, channel, uuid()));
};
const create = (...members: string[]) =>
  store.verbs.create({ channel: G, id: uuid(), clientId: '', title: '', members });

describe('a watermark', () => {
  test('of a sender rises with the message: who writes has read', async () => {
    await send('alice', 3);
    expect(await direct('alice')).toBe('3 3');
    expect(await direct('bob')).toBeNull();
    await send('bob', 1);
    expect(await direct('bob')).toBe('4 4');
    await create('alice', 'bob');
    await send('bob', 2, G);
    expect(await group('bob')).toBe('3 3');
    expect(await group('alice')).toBeNull();
  });

  test('a repeated message raises nothing', async () => {
    const first = message('alice', DM, 'one');
    await store.verbs.append(first);
    await send('bob', 2);
    await store.verbs.append(first);
    expect(await direct('alice')).toBe('1 1');
  });

  test('only grows, is clamped to the last seq, and what is read has been delivered', async () => {
    await send('alice', 5);
    expect(await raise({ delivered: 2 })).toEqual([{ grown: true, delivered: 2, read: 0, members: 2 }]);
    expect(await raise({ delivered: 2 })).toEqual([{ grown: false, delivered: 2, read: 0, members: 2 }]);
    expect(await raise({ delivered: 1 })).toMatchObject([{ grown: false, delivered: 2 }]);
    expect(await raise({ read: 3 })).toMatchObject([{ grown: true, delivered: 3, read: 3 }]);
    expect(await raise({ delivered: 4 })).toMatchObject([{ grown: true, delivered: 4, read: 3 }]);
    expect(await raise({ read: 1, delivered: 9 })).toMatchObject([{ grown: true, delivered: 5, read: 3 }]);
    expect(await raise({ read: Number.MAX_SAFE_INTEGER })).toMatchObject([{ grown: true, delivered: 5, read: 5 }]);
    expect(await raise({ read: 6 })).toMatchObject([{ grown: false, delivered: 5, read: 5 }]);
    expect(await direct('bob')).toBe('5 5');
    expect(await direct('alice')).toBe('5 5');
  });

  test('makes no event: seq, log and inboxes stay as they are', async () => {
    await attached(store.verbs, 'alice');
    await send('alice', 2);
    const before = await dump(store.redis);
    await raise({ delivered: 2, read: 1 });
    const after = await dump(store.redis);
    const changed = Object.keys(after).filter((key) => JSON.stringify(after[key]) !== JSON.stringify(before[key]));
    // The archive is told of it, later.
    const unsaved = keys.unsaved(keys.partitionOf(DM));
    expect(changed).toEqual([keys.channel(DM), unsaved]);
    expect(await store.redis.zrange(unsaved, '0', '-1')).toEqual([`read ${DM} bob`]);
  });

  test('of a channel that does not exist, or of nobody in it, is refused', async () => {
    expect(await raise({ delivered: 1 })).toEqual(['refused']);
    expect(await inGroup('bob', { delivered: 1 })).toEqual(['refused']);
    await create('alice', 'bob');
    expect(await inGroup('eve', { delivered: 1, read: 1 })).toEqual(['refused']);
    expect(await store.redis.exists(keys.receipts(G))).toBe(0);
    expect(await inGroup('bob', { delivered: 1 })).toEqual([{ grown: true, delivered: 1, read: 0, members: 2 }]);
  });

  test('of who was removed stays where it was, and goes on after a rejoin', async () => {
    await create('alice', 'bob');
    await send('alice', 3, G);
    await inGroup('bob', { read: 2 });
    const actor = { user: 'alice', service: false };
    await store.verbs.removeMember(G, actor, [uuid(), uuid()], 'bob');
    expect(await inGroup('bob', { read: 4 })).toEqual(['refused']);
    await store.verbs.putMember(G, actor, [uuid(), uuid()], 'bob', '', 500);
    expect(await inGroup('bob', { read: 4 })).toMatchObject([{ grown: true, read: 4 }]);
  });

  test.each(['alice', 'bob'])('is told no further when %s has blocked the other', async (blocker) => {
    await send('alice', 2);
    await store.redis.hset(keys.channel(DM), `blocked:${blocker}`, '1', 'blocked', '1');
    expect(await raise({ delivered: 2 })).toEqual(['refused']);
    expect(await direct('bob')).toBeNull();
  });

  test('in notes to oneself has one member', async () => {
    await send('bob', 1, 'dm:bob:bob');
    expect(await raise({ channel: 'dm:bob:bob', peer: 'bob', read: 1 })).toMatchObject([{ grown: false, members: 1 }]);
  });

  test('many in one call, each on its own: a key of the wrong type keeps none of the others', async () => {
    await send('alice', 1);
    await create('alice', 'bob');
    await store.redis.set(keys.channel('dm:bob:carol'), 'x');
    const one = { user: 'bob', delivered: 1, read: 0 };
    const replies = await store.receipts.raise([
      { ...one, channel: DM, peer: 'alice' },
      { ...one, channel: 'dm:bob:carol', peer: 'carol' },
      { ...one, channel: G, peer: undefined },
      { ...one, channel: 'dm:bob:dave', peer: 'dave' },
    ]);
    expect(replies).toMatchObject([{ grown: true, members: 2 }, 'broken', { grown: true, members: 2 }, 'refused']);
  });

  test('of one channel are raised together: each gets its own answer, in the order asked for, a member twice too', async () => {
    await create('alice', 'bob', 'carol');
    await send('alice', 4, G);
    await send('alice', 2);
    await send('bob', 2);
    const one = { channel: G, user: 'bob', peer: undefined, delivered: 2, read: 0 };
    const two = { channel: DM, user: 'bob', peer: 'alice', delivered: 4, read: 4 };
    expect(
      await store.receipts.raise([
        one,
        two,
        { ...one, user: 'eve' },
        { ...one, user: 'carol', read: 9 },
        { ...two, user: 'alice', peer: 'bob', delivered: 3 },
        { ...one, delivered: 1, read: 1 },
        { ...one, delivered: 3 },
      ]),
    ).toEqual([
      { grown: true, delivered: 2, read: 0, members: 3 },
      { grown: false, delivered: 4, read: 4, members: 2 },
      'refused',
      { grown: true, delivered: 5, read: 5, members: 3 },
      { grown: true, delivered: 4, read: 4, members: 2 },
      { grown: true, delivered: 2, read: 1, members: 3 },
      { grown: true, delivered: 3, read: 1, members: 3 },
    ]);
    expect(await group('bob')).toBe('3 1');
    expect(await group('carol')).toBe('5 5');
    expect(await direct('alice')).toBe('4 4');
    const unsaved = async (channel: string) => store.redis.zrange(keys.unsaved(keys.partitionOf(channel)), '0', '-1');
    expect(await unsaved(G)).toEqual([`read ${G} bob`, `read ${G} carol`]);
  });

  test("a group's receipts of the wrong type refuse no message", async () => {
    await create('alice', 'bob');
    await store.redis.set(keys.receipts(G), 'x');
    expect(await store.verbs.append(message('alice', G, 'c'))).toMatchObject({ seq: 2 });
    expect(await inGroup('bob', { delivered: 1 })).toEqual(['broken']);
  });

  test('out of memory: an error, to be repeated', async () => {
    await send('alice', 1);
    await expect(outOfMemory(store.redis, () => raise({ delivered: 1 }))).rejects.toThrow('OOM');
    expect(await raise({ delivered: 1 })).toMatchObject([{ grown: true }]);
  });
});

describe('telling', () => {
  const tell = (more: Partial<TellInput> = {}) =>
    store.receipts.tell([{ to: 'alice', channel: DM, user: 'bob', delivered: 2, read: 1, via: '', ...more }]);
  const receipts = async (user: string) => (await inboxOf(store.redis, user)).filter((e) => e.type === 'receipt');

  beforeEach(async () => {
    await attached(store.verbs, 'alice');
  });

  test('writes an entry and rings each gateway that serves the user, once', async () => {
    await attached(store.verbs, 'alice', 'laptop', 'gw2');
    await attached(store.verbs, 'alice', 'tablet', 'gw2');
    const before = await nowMs(store.redis);
    const one = { to: 'alice', channel: DM, user: 'bob', delivered: 2, read: 1, via: '' };
    expect(await store.receipts.tell([one, { ...one, channel: G, user: 'carol', delivered: 7, read: 7 }])).toBe(2);
    expect(await receipts('alice')).toMatchObject([
      { channel: DM, user: 'bob', delivered: '2', read: '1' },
      { channel: G, user: 'carol', delivered: '7', read: '7' },
    ]);
    expect(Number((await receipts('alice'))[0]?.ts)).toBeGreaterThanOrEqual(before);
    expect(await rings(store.redis, 'gw1')).toEqual(['users alice later 1']);
    expect(await rings(store.redis, 'gw2')).toEqual(['users alice later 1']);
  });

  test('nothing to who has no live session: state is read later', async () => {
    expect(await tell({ to: 'carol' })).toBe(0);
    await store.verbs.detach({ user: 'alice', device: 'phone', session: 'alice-phone-gw1', gateway: 'gw1' });
    const before = await dump(store.redis);
    expect(await tell()).toBe(0);
    expect(await dump(store.redis)).toEqual(before);
  });

  test("of one's own: only when another device lives", async () => {
    expect(await tell({ user: 'alice', via: 'phone' })).toBe(0);
    await attached(store.verbs, 'alice', 'laptop', 'gw2');
    expect(await tell({ user: 'alice', via: 'phone' })).toBe(1);
    expect(await receipts('alice')).toMatchObject([{ user: 'alice', via: 'phone' }]);
    expect(await rings(store.redis, 'gw2')).toEqual(['users alice later 1']);
  });

  describe('an inbox that fills up, because a device is away', () => {
    // A call a millisecond, as the looks go by the clock.
    const tellMany = async (from: number, to: number, more: Partial<TellInput> = {}) => {
      for (let n = from; n <= to; n++) {
        await tell({ delivered: n, read: n, ...more });
        await tick(store.redis);
      }
    };

    test('receipts push out no messages: what a later one says as well is removed', async () => {
      const texts = Array.from({ length: 300 }, (_, i) =>
        delivery(`${i + 1}-0`, { seq: i + 1, from: 'bob', to: ['alice'] }),
      );
      await store.verbs.deliver([block(keys.partitionOf('alice'), '0-0', texts)]);
      const trimmed = await store.redis.hget(keys.devices('alice'), 'trimmed');
      await tellMany(1, 1000);
      await tell({ channel: G, user: 'carol', delivered: 7, read: 7 });
      const inbox = await inboxOf(store.redis, 'alice');
      expect(inbox.filter((e) => e.type === 'message').map((e) => Number(e.seq))).toEqual(texts.map((_, i) => i + 1));
      // In the order of their offsets, and the latest of each member is there.
      expect(inbox.map((e) => e.offset)).toEqual(inbox.map((e) => e.offset).toSorted(compareIds));
      expect(inbox.slice(-2)).toMatchObject([{ delivered: '1000' }, { channel: G, delivered: '7' }]);
      expect(await store.redis.hget(keys.devices('alice'), 'trimmed')).toBe(trimmed);
    });

    test('of very many members push out no messages either: the latest 500 are there, and of receipts some dozens', async () => {
      const texts = Array.from({ length: 530 }, (_, i) =>
        delivery(`${i + 1}-0`, { seq: i + 1, from: 'bob', to: ['alice'] }),
      );
      const messages = async () => (await inboxOf(store.redis, 'alice')).filter((e) => e.type === 'message');
      const deliver = (from: number, to: number) =>
        store.verbs.deliver([block(keys.partitionOf('alice'), `${from}-0`, texts.slice(from, to))]);
      await deliver(0, 100);
      for (let n = 0; n < 400; n++) await tell({ channel: G, user: `member-${n}` });
      await deliver(100, 500);
      expect((await messages()).map((e) => Number(e.seq))).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
      expect(await store.redis.hget(keys.devices('alice'), 'trimmed')).not.toBe((await messages())[0]?.offset);
      for (let n = 0; n < 200; n++) await tell({ channel: G, user: `member-${n}`, delivered: 3 });
      expect((await messages()).map((e) => Number(e.seq))).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
      expect((await receipts('alice')).at(-1)).toMatchObject({ user: 'member-199', delivered: '3' });
      for (let n = 500; n < 530; n++) await deliver(n, n + 1);
      expect((await messages()).slice(-500).map((e) => Number(e.seq))).toEqual(
        Array.from({ length: 500 }, (_, i) => i + 31),
      );
      expect((await inboxOf(store.redis, 'alice')).length).toBeLessThanOrEqual(500 + 64);
    });

    test('are counted from a quarter of an inbox on: a few stay in a full one, whatever was acked before', async () => {
      const counted = () => store.redis.hget(keys.devices('alice'), 'receipts');
      const texts = Array.from({ length: 560 }, (_, i) =>
        delivery(`${i + 1}-0`, { seq: i + 1, from: 'bob', to: ['alice'] }),
      );
      const deliver = (from: number, to: number) =>
        store.verbs.deliver([block(keys.partitionOf('alice'), `${from}-0`, texts.slice(from, to))]);
      for (let n = 0; n < 100; n++) await tell({ channel: G, user: `member-${n}` });
      expect(await counted()).toBeNull();
      await deliver(0, 60);
      expect(await counted()).toBe('190');
      const offset = (await inboxOf(store.redis, 'alice')).at(-1)?.offset ?? '';
      expect(await store.verbs.ack([{ user: 'alice', device: 'phone', offset }])).toMatchObject({ raised: 1 });
      for (let n = 0; n < 30; n++) await tell({ channel: G, user: `member-${n}` });
      await deliver(60, 160);
      for (let n = 30; n < 40; n++) await tell({ channel: G, user: `member-${n}` });
      expect(await counted()).toBe('200');
      await deliver(160, 560);
      expect(await counted()).toBe('40');
      expect(await receipts('alice')).toHaveLength(40);
      const messages = (await inboxOf(store.redis, 'alice')).filter((e) => e.type === 'message');
      expect(messages.map((e) => Number(e.seq))).toEqual(Array.from({ length: 500 }, (_, i) => i + 61));
    });

    test('one that says more stays, though it is older; and so do those of another device of one’s own', async () => {
      await attached(store.verbs, 'alice', 'laptop', 'gw2');
      await tellMany(1, 120, { user: 'alice', via: 'laptop' });
      await tell({ user: 'alice', delivered: 90, read: 90, via: 'phone' });
      await tell({ delivered: 900, read: 2 });
      await tellMany(1, 60, { read: 3 });
      await tellMany(121, 160, { user: 'alice', via: 'laptop' });
      const left = await receipts('alice');
      expect(left.length).toBeLessThan(200);
      expect(left).toContainEqual(expect.objectContaining({ user: 'alice', delivered: '90', via: 'phone' }));
      expect(left).toContainEqual(expect.objectContaining({ user: 'bob', delivered: '900', read: '2' }));
      expect(left).toContainEqual(expect.objectContaining({ user: 'bob', read: '3' }));
      expect(left.at(-1)).toMatchObject({ user: 'alice', delivered: '160', via: 'laptop' });
    });
  });

  test('unread counts and conversations know nothing of it', async () => {
    await store.redis.hset(keys.conversations('alice'), DM, '5 1005 5 0');
    await tell();
    expect(await store.redis.hgetall(keys.conversations('alice'))).toEqual({ [DM]: '5 1005 5 0' });
  });

  test.each(['inbox', 'sessions'] as const)('%s of the wrong type: passed over, the others are told', async (kind) => {
    await attached(store.verbs, 'carol');
    await store.redis.set(keys[kind]('alice'), 'x');
    const one = { to: 'alice', channel: DM, user: 'bob', delivered: 2, read: 1, via: '' };
    expect(await store.receipts.tell([one, { ...one, to: 'carol' }])).toBe(1);
    expect(await receipts('carol')).toHaveLength(1);
  });

  test('out of memory: an error, to be repeated', async () => {
    await expect(outOfMemory(store.redis, () => tell())).rejects.toThrow('OOM');
    expect(await tell()).toBe(1);
  });
});
