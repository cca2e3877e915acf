import { describe, expect, test } from 'vitest';
import { compareIds } from '../lib/redis/ids.ts';
import {
  attached,
  block,
  connect,
  DAY_MS,
  delivery,
  dump,
  inboxOf,
  keys,
  nowMs,
  outOfMemory,
  rings,
  tick,
  unseenFor,
  useStore,
} from './harness.ts';

const store = useStore();
const BOB = keys.partitionOf('bob');
let delivered = 0;
const deliver = async (n: number) => {
  for (let i = 0; i < n; i++) {
    const at = ++delivered;
    const before = (await store.redis.hget(keys.cursor(BOB), '3')) ?? '0-0';
    await store.verbs.deliver([block(BOB, before, [delivery(`${at}-0`, { seq: at, to: ['bob'] })])]);
  }
};
const device = (name: string) => store.redis.hget(keys.devices('bob'), `device:${name}`);
const ackedBy = async (name: string) => (await device(name))?.split(' ')[0];
const trimmed = async () => (await store.redis.hget(keys.devices('bob'), 'trimmed')) ?? '';
const offsets = async () => (await inboxOf(store.redis, 'bob')).map((e) => e.offset);

describe('first hello', () => {
  test("without since: the inbox's end is stored, nothing is missed from then on", async () => {
    const a = await attached(store.verbs, 'bob');
    const { tail } = a;
    expect(a).toMatchObject({
      position: tail,
      tail,
      acked: tail,
      first: true,
      gap: false,
      oldest: null,
      replaced: null,
    });
    expect(await ackedBy('phone')).toBe(a.tail);
    expect(compareIds(await trimmed(), a.tail)).toBeLessThan(0);
    expect(await store.redis.hgetall(keys.sessions('bob'))).toEqual({ phone: 'gw1 bob-phone-gw1' });
    expect(await store.redis.pttl(keys.inbox('bob'))).toBeGreaterThan(6 * DAY_MS);
    await deliver(2);
    const b = await attached(store.verbs, 'bob', 'laptop');
    expect(b).toMatchObject({ position: (await offsets())[1], first: true, gap: false, oldest: (await offsets())[0] });
    expect(compareIds((await offsets())[0] ?? '', a.position)).toBeGreaterThan(0);
  });

  test('with since: that is where the replay starts, and what is stored', async () => {
    await attached(store.verbs, 'bob');
    await deliver(3);
    const [one = ''] = await offsets();
    expect(await attached(store.verbs, 'bob', 'laptop', 'gw1', one)).toMatchObject({
      position: one,
      first: true,
      gap: true, // no copies of bob's own messages were kept for a device that nobody knew
    });
    expect(await ackedBy('laptop')).toBe(one);
  });

  test('with a since from before the inbox: a gap', async () => {
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', '1-0')).toMatchObject({
      position: '1-0',
      first: true,
      gap: true,
      oldest: null,
    });
  });
});

describe('resume', () => {
  test("without since: the device's acked offset; with since: that, and the caller acks it", async () => {
    const { tail } = await attached(store.verbs, 'bob');
    await deliver(3);
    expect(await attached(store.verbs, 'bob')).toMatchObject({ position: tail, first: false, gap: false });
    const [, two = '', three] = await offsets();
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', two)).toMatchObject({
      position: two,
      tail: three,
      acked: tail,
      gap: false,
    });
    // What it covers becomes receipts first: a gateway that dies before leaves everything as it was.
    expect(await ackedBy('phone')).toBe(tail);
    await store.verbs.ack([{ user: 'bob', device: 'phone', offset: two }]);
    expect(await attached(store.verbs, 'bob')).toMatchObject({ position: two, acked: two });
  });

  test('with an older since: replayed from there, the acked offset stays', async () => {
    await attached(store.verbs, 'bob');
    await deliver(3);
    const [one = '', , three = ''] = await offsets();
    await store.verbs.ack([{ user: 'bob', device: 'phone', offset: three }]);
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', one)).toMatchObject({ position: one, gap: false });
    expect(await ackedBy('phone')).toBe(three);
  });

  test('ids are compared as numbers', async () => {
    await store.redis.xadd(keys.inbox('bob'), '9-0', 'a', 'b');
    await store.redis.xadd(keys.inbox('bob'), '10-0', 'a', 'b');
    await store.redis.hset(keys.devices('bob'), 'trimmed', '8-0', 'device:phone', `9-0 ${await nowMs(store.redis)}`);
    // Entries of 1970 are past the longest life of an entry: they go, and that is no secret.
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', '10-0')).toMatchObject({
      position: '10-0',
      gap: true,
      oldest: null,
    });
  });

  test('older than what was trimmed: a gap; at it: none', async () => {
    await attached(store.verbs, 'bob');
    await deliver(3);
    const [one = '', two = '', three] = await offsets();
    await store.redis.xtrim(keys.inbox('bob'), 'MINID', three ?? '');
    await store.redis.hset(keys.devices('bob'), 'trimmed', two);
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', one)).toMatchObject({
      gap: true,
      oldest: three,
      position: one,
    });
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', two)).toMatchObject({
      gap: false,
      oldest: three,
      position: two,
    });
  });

  test('an expired inbox: a gap', async () => {
    await attached(store.verbs, 'bob');
    await store.redis.del(keys.inbox('bob'));
    await tick(store.redis);
    const a = await attached(store.verbs, 'bob');
    expect(a).toMatchObject({ gap: true, oldest: null });
    expect(compareIds(a.tail, a.position)).toBeGreaterThan(0);
    // Where it stands then is no gap any more.
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', a.tail)).toMatchObject({ gap: false });
  });

  test('entries older than 7 days are removed, and what they were is a gap', async () => {
    await attached(store.verbs, 'bob');
    await store.redis.del(keys.inbox('bob'));
    const now = await nowMs(store.redis);
    await store.redis.xadd(keys.inbox('bob'), `${now - 8 * DAY_MS}-0`, 'a', 'b');
    await store.redis.xadd(keys.inbox('bob'), `${now - 6 * DAY_MS}-0`, 'a', 'b');
    await store.redis.hset(keys.devices('bob'), 'trimmed', `${now - 9 * DAY_MS}-0`);
    const kept = `${now - 6 * DAY_MS}-0`;
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', `${now - 9 * DAY_MS}-5`)).toMatchObject({
      gap: true,
      oldest: kept,
    });
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', `${now - 6.5 * DAY_MS}-0`)).toMatchObject({ gap: false });
  });

  test('a device unseen for more than 7 days held nothing back: a gap', async () => {
    const { tail } = await attached(store.verbs, 'bob');
    await unseenFor(store.redis, 'bob', 'phone', 7 * DAY_MS + 1000);
    expect(await attached(store.verbs, 'bob')).toMatchObject({ gap: true, first: false, position: tail });
    expect(await attached(store.verbs, 'bob')).toMatchObject({ gap: false });
  });

  test('after a set-aside: a gap once, also when the offset would not show it', async () => {
    const { tail } = await attached(store.verbs, 'bob');
    await store.redis.hset(keys.devices('bob'), 'broken', '1');
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', tail)).toMatchObject({ gap: true });
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', tail)).toMatchObject({ gap: false });
  });
});

describe('a since from the future', () => {
  test('not beyond the clock: the end of the inbox moves there, so that what comes is later', async () => {
    const { tail } = await attached(store.verbs, 'bob');
    const ahead = `${tail.split('-')[0]}-99`;
    const a = await attached(store.verbs, 'bob', 'phone', 'gw1', ahead);
    expect(a).toMatchObject({ gap: true, position: ahead, tail: ahead });
    await deliver(1);
    expect(compareIds((await offsets())[0] ?? '', ahead)).toBeGreaterThan(0);
  });

  test("beyond the clock: the inbox's end and a gap, and the end stays", async () => {
    const { tail } = await attached(store.verbs, 'bob');
    for (const since of [
      `${(await nowMs(store.redis)) + 60_000}-0`,
      '999999999999999-0',
      '99999999999999999999999-0',
    ]) {
      expect(await attached(store.verbs, 'bob', 'phone', 'gw1', since)).toMatchObject({
        gap: true,
        position: tail,
        tail,
      });
    }
    expect(await ackedBy('phone')).toBe(tail);
  });

  test('an acked offset ahead of the inbox (a failover took the tail) is treated alike', async () => {
    await attached(store.verbs, 'bob');
    const now = await nowMs(store.redis);
    await store.redis.hset(keys.devices('bob'), 'device:phone', `${now + 60_000}-0 ${now}`);
    const a = await attached(store.verbs, 'bob');
    expect(a).toMatchObject({ gap: true, position: a.tail });
    expect(await ackedBy('phone')).toBe(a.tail);
  });

  test('one that is no offset is an error, and changes nothing', async () => {
    for (const since of ['x', '1', '-', '1-', '1-2-3', '-1-0']) {
      await expect(connect(store.verbs, 'bob', 'phone', 'gw1', since)).rejects.toThrow('not an offset');
    }
    expect(await dump(store.redis)).toEqual({});
  });
});

describe('what was lost', () => {
  test('the devices hash: nobody can tell what was left out, so every since is a gap', async () => {
    const { tail } = await attached(store.verbs, 'bob');
    await store.redis.del(keys.devices('bob'));
    const a = await attached(store.verbs, 'bob', 'phone', 'gw1', tail);
    expect(a).toMatchObject({ gap: true, first: true });
    await store.redis.del(keys.devices('bob'));
    expect(await attached(store.verbs, 'bob')).toMatchObject({ gap: false, first: true });
  });

  test('`trimmed` ahead of the inbox: later entries come after it', async () => {
    await attached(store.verbs, 'bob');
    const ahead = `${(await nowMs(store.redis)) + 60_000}-3`;
    await store.redis.hset(keys.devices('bob'), 'trimmed', ahead);
    expect(await attached(store.verbs, 'bob')).toMatchObject({ gap: true, tail: ahead });
    await deliver(1);
    expect(compareIds((await offsets())[0] ?? '', ahead)).toBeGreaterThan(0);
    expect(await trimmed()).toBe(ahead);
  });

  test('a floor: offsets below it are a gap, once; a first hello is none', async () => {
    await attached(store.verbs, 'bob');
    const floor = `${(await nowMs(store.redis)) + 1}-0`;
    await store.redis.hset(keys.cursor(BOB), 'floor', floor);
    expect(await attached(store.verbs, 'bob', 'laptop')).toMatchObject({ gap: false, first: true, position: floor });
    const a = await attached(store.verbs, 'bob');
    expect(a).toMatchObject({ gap: true, tail: floor });
    expect(await attached(store.verbs, 'bob', 'phone', 'gw1', a.tail)).toMatchObject({ gap: false });
    await deliver(1);
    expect(compareIds((await offsets())[0] ?? '', floor)).toBeGreaterThan(0);
  });
});

describe('sessions', () => {
  test('the same device elsewhere replaces, and the old gateway is rung', async () => {
    await attached(store.verbs, 'bob', 'phone', 'gw1');
    const b = await attached(store.verbs, 'bob', 'phone', 'gw2');
    expect(b.replaced).toEqual({ gateway: 'gw1', session: 'bob-phone-gw1' });
    expect(await rings(store.redis, 'gw1')).toEqual(['replaced bob-phone-gw1']);
    expect(await rings(store.redis, 'gw2')).toEqual([]);
    expect(await store.redis.pttl(keys.bell(BOB, 'gw1'))).toBeGreaterThan(50_000);
    expect(await store.redis.hgetall(keys.sessions('bob'))).toEqual({ phone: 'gw2 bob-phone-gw2' });
  });

  test('on the same gateway: told in the reply, no ring', async () => {
    const attach = (session: string) =>
      store.verbs.attach({ user: 'bob', device: 'phone', session, gateway: 'gw1', maxSessions: 8 });
    await attach('s1');
    expect(await attach('s2')).toMatchObject({ replaced: { gateway: 'gw1', session: 's1' } });
    expect(await rings(store.redis, 'gw1')).toEqual([]);
  });

  test('the same session again changes nothing but the time', async () => {
    await attached(store.verbs, 'bob');
    await deliver(2);
    const before = await dump(store.redis);
    expect(await attached(store.verbs, 'bob')).toMatchObject({ first: false, gap: false, replaced: null });
    const after = await dump(store.redis);
    const time = (all: Record<string, unknown>) => ({ ...all, [keys.devices('bob')]: null });
    expect(time(after)).toEqual(time(before));
    expect(await rings(store.redis, 'gw1')).toEqual(['users bob', 'users bob']);
  });

  test('the ninth at once is refused and changes nothing; a device of the eight may connect again', async () => {
    for (let i = 1; i <= 8; i++) await attached(store.verbs, 'bob', `d${i}`);
    const before = await dump(store.redis);
    expect(await connect(store.verbs, 'bob', 'd9')).toBe('too_many');
    expect(await dump(store.redis)).toEqual(before);
    expect(await attached(store.verbs, 'bob', 'd8', 'gw2')).toMatchObject({ replaced: { gateway: 'gw1' } });
    await store.verbs.detach({ user: 'bob', device: 'd1', session: 'bob-d1-gw1', gateway: 'gw1' });
    expect(await connect(store.verbs, 'bob', 'd9')).not.toBe('too_many');
  });
});

describe('broken keys', () => {
  test.each(['inbox', 'devices', 'sessions', 'cursor'] as const)(
    '%s of the wrong type: an error, nothing is registered',
    async (kind) => {
      const key = kind === 'cursor' ? keys.cursor(BOB) : keys[kind]('bob');
      await store.redis.set(key, 'x');
      const before = await dump(store.redis);
      await expect(connect(store.verbs, 'bob')).rejects.toThrow('WRONGTYPE');
      expect(await dump(store.redis)).toEqual(before);
    },
  );

  test('out of memory: nothing is registered', async () => {
    await expect(outOfMemory(store.redis, () => connect(store.verbs, 'bob'))).rejects.toThrow('OOM');
    expect(await dump(store.redis)).toEqual({});
  });
});
