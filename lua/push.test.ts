import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { PushVerbs, type Wakeup } from '../lib/redis/push-verbs.ts';
import { script } from '../lib/redis/scripts.ts';
import { attached, block, connect, DAY_MS, delivery, fieldsOf, inboxOf, keys, unseenFor, useStore } from './harness.ts';

const store = useStore();
let push: PushVerbs;
beforeAll(() => {
  push = new PushVerbs(store.redis, keys);
});

const BOB = keys.partitionOf('bob');
const DM = 'dm:alice:bob';
let last = 0;
/** Messages from alice to bob, or what `more` says. */
const deliver = (n: number, more: { from?: string; type?: string; rest?: string[]; to?: string[] } = {}) => {
  const entries = Array.from({ length: n }, (_, i) =>
    delivery(`${last + i + 1}-0`, { seq: last + i + 1, to: ['bob'], ...more }),
  );
  const batch = block(BOB, last === 0 ? '0-0' : `${last}-0`, entries);
  last += n;
  return store.verbs.deliver([batch]);
};
const token = (user: string, device: string, text = `token-of-${user}-${device}`) =>
  push.putDevice(user, device, { platform: 'android', token: text }, 8);
const devices = (user = 'bob') => store.redis.hgetall(keys.devices(user));
const queue = async () => (await store.redis.xrange(keys.push(BOB), '-', '+')).map(([, fields]) => fieldsOf(fields));
const detach = (device = 'phone', gateway = 'gw1') =>
  store.verbs.detach({ user: 'bob', device, session: `bob-${device}-${gateway}`, gateway });
const overdue = (device = 'phone') => push.overdue([{ user: 'bob', device, session: `bob-${device}-gw1` }]);
const offsets = async () => (await inboxOf(store.redis, 'bob')).map((entry) => entry.offset);
const ack = async (device: string, n: number) =>
  store.verbs.ack([{ user: 'bob', device, offset: (await offsets())[n] ?? '' }]);
const wakeup = (fields: Record<string, string>): Wakeup => ({
  user: fields.user ?? '',
  devices: (fields.devices ?? '').split(' '),
  sender: fields.sender ?? '',
  senderName: fields.sender_name ?? '',
  channel: fields.channel ?? '',
  seq: fields.seq ?? '',
  id: fields.id ?? '',
  snippet: fields.snippet ?? '',
  offset: fields.offset ?? '',
  count: Number(fields.count),
  after: fields.after ?? '',
  session: fields.session ?? '',
});
const verdicts = async () => await push.stillDue('bob', (await queue()).map(wakeup));
const WAKE = { platform: 'android', token: 'token-of-bob-phone' };

beforeEach(() => {
  last = 0; // the store is empty again
});

describe('delivery', () => {
  test('a message to a device that is away queues a wake-up in the same step, with all that a push shows', async () => {
    await attached(store.verbs, 'bob');
    await token('bob', 'phone');
    await detach();
    await deliver(1, { rest: ['content', 'hello bob', 'metadata', '{}', 'name', 'Alice A.'] });
    const [offset = ''] = await offsets();
    expect(await queue()).toEqual([
      {
        user: 'bob',
        devices: 'phone',
        sender: 'alice',
        sender_name: 'Alice A.',
        channel: DM,
        seq: '1',
        id: 'id-1',
        snippet: 'hello bob',
        offset,
        count: '1',
      },
    ]);
    expect((await devices())['pushed:phone']).toBe(offset);
  });

  test('no wake-up for a live device, for one without a token, for one’s own messages, for what is no message', async () => {
    await attached(store.verbs, 'bob', 'phone');
    await token('bob', 'phone');
    await attached(store.verbs, 'bob', 'laptop');
    await deliver(1);
    await detach('laptop');
    await deliver(1);
    expect(await queue()).toEqual([]);
    await ack('phone', 1);
    await detach('phone');
    await deliver(1, { from: 'bob' });
    await deliver(1, { type: 'renamed', rest: ['title', 'x'] });
    expect(await queue()).toEqual([]);
    await deliver(1);
    expect(await queue()).toMatchObject([{ devices: 'phone', seq: '5' }]);
  });

  test('several devices away: one entry names them; several messages in one call: each has its own', async () => {
    await connect(store.verbs, 'bob', 'laptop');
    await token('bob', 'phone');
    await token('bob', 'tablet');
    await deliver(2);
    expect(await queue()).toMatchObject([
      { devices: 'phone tablet', seq: '1' },
      { devices: 'phone tablet', seq: '2' },
    ]);
  });

  test('a dormant user gets no entry, but a wake-up', async () => {
    await attached(store.verbs, 'bob');
    await token('bob', 'phone');
    await detach();
    await unseenFor(store.redis, 'bob', 'phone', 8 * DAY_MS);
    await deliver(1);
    expect(await offsets()).toEqual([]);
    const [entry] = await queue();
    expect(entry).toMatchObject({ devices: 'phone', seq: '1' });
    expect(await verdicts()).toEqual([[WAKE]]);
    expect(entry?.offset).toBe((await devices()).trimmed);
  });

  test('a user set aside is woken too', async () => {
    await token('bob', 'phone');
    await store.redis.hset(keys.devices('bob'), 'seen', String(Date.now()));
    await store.redis.set(keys.inbox('bob'), 'no stream');
    await deliver(1);
    expect(await queue()).toMatchObject([{ devices: 'phone', seq: '1' }]);
  });

  test('a queue of the wrong type costs no delivery: the wake-up is a dead letter', async () => {
    await attached(store.verbs, 'bob', 'laptop');
    await token('bob', 'phone');
    await store.redis.set(keys.push(BOB), 'no stream');
    expect((await deliver(1)).replies).toEqual([{ status: 'ok', cursor: '1-0' }]);
    const dead = await store.redis.xrange(keys.dead(BOB), '-', '+');
    expect(dead.map(([, f]) => fieldsOf(f))).toMatchObject([{ kind: 'push', devices: 'phone', seq: '1' }]);
  });

  test('a snippet is cut between characters', async () => {
    await token('bob', 'phone');
    await attached(store.verbs, 'bob', 'laptop');
    await deliver(1, { rest: ['content', 'é'.repeat(500)] });
    expect((await queue())[0]?.snippet).toMatch(/^é{119,120}$/);
  });
});

describe('the end of a session', () => {
  test('queues what the device had not acked, as one wake-up with the count, and not twice', async () => {
    await attached(store.verbs, 'bob');
    await token('bob', 'phone');
    await deliver(4);
    await ack('phone', 0);
    const [first, , , newest] = await offsets();
    await detach();
    expect(await queue()).toMatchObject([{ devices: 'phone', count: '3', seq: '4', offset: newest, after: first }]);
    await connect(store.verbs, 'bob');
    await detach();
    expect(await queue()).toHaveLength(1);
  });

  test('nothing is queued when all is acked, when the device has no token, when another session came', async () => {
    await attached(store.verbs, 'bob', 'phone');
    await attached(store.verbs, 'bob', 'laptop');
    await token('bob', 'phone');
    await deliver(2);
    await detach('laptop');
    await connect(store.verbs, 'bob', 'phone', 'gw2');
    await detach('phone', 'gw1');
    expect(await queue()).toEqual([]);
    await ack('phone', 1);
    await detach('phone', 'gw2');
    expect(await queue()).toEqual([]);
  });

  test('a message is found behind many entries that are none', async () => {
    await attached(store.verbs, 'bob');
    await token('bob', 'phone');
    await deliver(1);
    await deliver(70, { type: 'renamed', rest: ['title', 'x'] });
    await detach();
    expect(await queue()).toMatchObject([{ count: '1', seq: '1' }]);
  });
});

describe('a session that does not ack', () => {
  test('is queued once, however often it is looked at; what comes later is queued again', async () => {
    await attached(store.verbs, 'bob');
    await token('bob', 'phone');
    await deliver(2);
    expect(await overdue()).toBe(1);
    expect(await overdue()).toBe(0);
    expect(await queue()).toMatchObject([{ count: '2', seq: '2', session: 'bob-phone-gw1' }]);
    await deliver(1);
    expect(await overdue()).toBe(1);
    await detach();
    expect(await queue()).toMatchObject([{ count: '2' }, { count: '1', seq: '3' }]);
  });

  test('is passed over without a token, when another session came, with broken keys', async () => {
    await attached(store.verbs, 'bob');
    await deliver(1);
    expect(await overdue()).toBe(0);
    await token('bob', 'phone');
    await connect(store.verbs, 'bob', 'phone', 'gw2');
    expect(await overdue()).toBe(0);
    await store.redis.set(keys.inbox('bob'), 'x');
    await store.redis.set(keys.devices('bob'), 'x');
    await store.redis.set(keys.sessions('bob'), 'x');
    expect(await overdue()).toBe(0);
  });
});

describe('the last look before a wake-up', () => {
  test('away and not acked: wake it', async () => {
    await token('bob', 'phone');
    await attached(store.verbs, 'bob', 'laptop');
    await deliver(1);
    expect(await verdicts()).toEqual([[WAKE]]);
  });

  test('acked by another device of the user: nothing to do', async () => {
    await token('bob', 'phone');
    await attached(store.verbs, 'bob', 'laptop');
    await deliver(2);
    await ack('laptop', 0);
    expect(await verdicts()).toEqual([['acked'], [WAKE]]);
  });

  test('back, and not acking: not now, but as soon as that session ends or is overdue', async () => {
    await attached(store.verbs, 'bob');
    await token('bob', 'phone');
    await detach();
    await deliver(2);
    await connect(store.verbs, 'bob');
    expect(await verdicts()).toEqual([['live'], ['live']]);
    await store.redis.del(keys.push(BOB));
    expect(await overdue()).toBe(1);
    expect(await queue()).toMatchObject([{ count: '2', session: 'bob-phone-gw1' }]);
    // Still the session that did not ack.
    expect(await verdicts()).toEqual([[WAKE]]);
    // And another one by now: again not now.
    await connect(store.verbs, 'bob', 'phone', 'gw2');
    expect(await verdicts()).toEqual([['live']]);
    await detach('phone', 'gw2');
    expect((await queue()).at(-1)).toMatchObject({ count: '2', session: '' });
  });

  test('the token went meanwhile: nothing to do', async () => {
    await token('bob', 'phone');
    await attached(store.verbs, 'bob', 'laptop');
    await deliver(1);
    await push.forgetDevice('bob', 'phone');
    expect(await verdicts()).toEqual([['gone']]);
  });
});

describe('tokens', () => {
  test('a token belongs to the last user who registered it', async () => {
    await token('alice', 'phone', 'T');
    await token('alice', 'tablet', 'U');
    await token('bob', 'phone', 'T');
    expect(await devices('alice')).toEqual({ 'push:tablet': 'android U', pushable: 'tablet' });
    expect(await devices('bob')).toEqual({ 'push:phone': 'android T', pushable: 'phone' });
    expect(await push.ownsToken('bob', 'phone', 'T')).toBe(true);
    expect(await push.ownsToken('alice', 'phone', 'T')).toBe(false);
  });

  test('whoever crashed in the middle: at no moment two own it, and the next attempt does the rest', async () => {
    await token('alice', 'phone', 'T');
    // As far as the first step: the device has it, the key does not say so yet.
    const args = ['phone', 'android', 'T', '8', 'bob'];
    const bobs = [keys.devices('bob'), keys.sessions('bob'), keys.unsaved(keys.partitionOf('bob'))];
    await store.redis.eval(script('put_device').body, 3, ...bobs, ...args);
    expect(await push.ownsToken('alice', 'phone', 'T')).toBe(true);
    expect(await push.ownsToken('bob', 'phone', 'T')).toBe(false);
    await token('bob', 'phone', 'T');
    expect(await push.ownsToken('bob', 'phone', 'T')).toBe(true);
    expect(await devices('alice')).toEqual({});
  });

  test('dropping compares: a token that was replaced stays', async () => {
    await token('bob', 'phone', 'old');
    await token('bob', 'phone', 'new');
    expect(await push.dropToken('bob', 'phone', 'old')).toBe(false);
    expect(await devices()).toEqual({ 'push:phone': 'android new', pushable: 'phone' });
    expect(await push.dropToken('bob', 'phone', 'new')).toBe(true);
    expect(await devices()).toEqual({});
  });

  test('the ninth known device displaces the one unseen longest that is not connected', async () => {
    for (const device of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) {
      await attached(store.verbs, 'bob', device);
      if (device !== 'a') await detach(device);
      await token('bob', device);
      await unseenFor(store.redis, 'bob', device, (200 - device.charCodeAt(0)) * 1000);
    }
    const known = async () =>
      Object.keys(await devices())
        .filter((field) => /^(device|push):/.test(field))
        .sort();
    await token('bob', 'i'); // `a` is connected
    expect((await known()).filter((field) => field.startsWith('device:'))).toEqual(
      ['a', 'c', 'd', 'e', 'f', 'g', 'h'].map((d) => `device:${d}`),
    );
    expect((await devices()).pushable).toBe('a c d e f g h i');
    await attached(store.verbs, 'bob', 'j'); // `i` was never seen
    expect((await devices()).pushable).toBe('a c d e f g h');
    await attached(store.verbs, 'bob', 'j');
    await attached(store.verbs, 'bob', 'k');
    expect((await devices()).pushable).toBe('a d e f g h');
  });
});
