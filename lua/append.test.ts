import { afterEach, describe, expect, test, vi } from 'vitest';
import { DEDUPE_WINDOW_MS } from '../lib/keyspace/index.ts';
import { run } from '../lib/redis/scripts.ts';
import { dump, fieldsOf, keys, message, nowMs, outOfMemory, useStore, uuid } from './harness.ts';

const store = useStore();
const DM = 'dm:alice:bob';
const GROUP = 'g:team';
const log = (channel: string) => store.redis.xrange(keys.log(keys.partitionOf(channel)), '-', '+');
const group = (...members: string[]) =>
  store.verbs.create({ channel: GROUP, id: uuid(), clientId: 'g', title: '', members });
const windowNow = async () => Math.floor((await nowMs(store.redis)) / DEDUPE_WINDOW_MS);
const remove = (user: string) =>
  store.verbs.removeMember(GROUP, { user: 'alice', service: false }, [uuid(), uuid()], user);

afterEach(() => void vi.useRealTimers());

test('a message gets the next sequence number, and its log entry points at the one before', async () => {
  const before = await nowMs(store.redis);
  const first = await store.verbs.append({
    ...message('alice', DM, 'a1', { via: 'phone' }),
    metadata: '{"k":"v"}',
    name: 'Alice',
  });
  const second = await store.verbs.append(message('bob', DM, 'b1', { content: '\0 \u{1f600}\n' }));
  if (typeof first === 'string' || typeof second === 'string') throw new Error('not accepted');
  expect([first.seq, second.seq, first.duplicate, second.duplicate]).toEqual([1, 2, false, false]);
  expect(first.ts).toBeGreaterThanOrEqual(before);
  const [one, two] = await log(DM);
  expect(one?.[1]).toEqual(
    [
      'type',
      'message',
      'channel',
      DM,
      'seq',
      '1',
      'id',
      first.id,
      'from',
      'alice',
      'cid',
      'a1',
      'ts',
      String(first.ts),
    ].concat([
      'prev',
      '0-0',
      'mv',
      '0',
      'content',
      'hello a1',
      'metadata',
      '{"k":"v"}',
      'name',
      'Alice',
      'via',
      'phone',
    ]),
  );
  expect(one?.[0].split('-')[0]).toBe(String(first.ts));
  expect(fieldsOf(two?.[1] ?? [])).toMatchObject({ seq: '2', prev: one?.[0], content: '\0 \u{1f600}\n' });
  expect(await store.redis.hgetall(keys.channel(DM))).toMatchObject({
    kind: 'direct',
    seq: '2',
    last: two?.[0],
    created: String(first.ts),
    message: `2 bob ${second.ts} \0 \u{1f600}\n`,
  });
});

test('the same client id again gets the first answer again, in this window and the two before', async () => {
  const first = await store.verbs.append(message('alice', DM, 'a1'));
  if (typeof first === 'string') throw new Error('not accepted');
  const again = await store.verbs.append(message('alice', DM, 'a1', { content: 'other' }));
  expect(again).toEqual({ ...first, duplicate: true });
  const window = await windowNow();
  for (const back of [1, 2]) {
    await store.redis.rename(keys.dedupe(DM, window - back + 1), keys.dedupe(DM, window - back));
    await store.redis.hset(keys.channel(DM), 'dedupe', String(window - back));
    expect(await store.verbs.append(message('alice', DM, 'a1'))).toEqual({ ...first, duplicate: true });
  }
  expect(await log(DM)).toHaveLength(1);
  // Another sender's client id, and the same sender's in another channel, are others.
  expect(await store.verbs.append(message('bob', DM, 'a1'))).toMatchObject({ seq: 2, duplicate: false });
  expect(await store.verbs.append(message('alice', 'dm:alice:carol', 'a1'))).toMatchObject({
    seq: 1,
    duplicate: false,
  });
});

test('a message that says by itself that others’ messages are read tells so, once', async () => {
  const covers = async (from: string, channel: string) => {
    const reply = await store.verbs.append(message(from, channel, `c${Math.random()}`));
    return typeof reply === 'string' ? reply : reply.covers;
  };
  expect(await covers('alice', DM)).toBe(false);
  expect(await covers('alice', DM)).toBe(false);
  expect(await covers('bob', DM)).toBe(true);
  expect(await covers('bob', DM)).toBe(false);
  expect(await covers('alice', DM)).toBe(true);
  const again = message('bob', DM, 'twice');
  expect(await store.verbs.append(again)).toMatchObject({ covers: true });
  expect(await store.verbs.append(again)).toMatchObject({ covers: false, duplicate: true });
  // What a `read` said before is no news.
  await store.redis.hset(keys.channel(DM), 'receipt:alice', '6 6');
  expect(await covers('alice', DM)).toBe(false);
});

test('a dedupe window lives for an hour after its end, however often it is written', async () => {
  await store.verbs.append(message('alice', DM, 'a1'));
  const key = keys.dedupe(DM, await windowNow());
  const ttl = await store.redis.pttl(key);
  expect(ttl).toBeGreaterThan(3 * DEDUPE_WINDOW_MS - 10_000);
  await store.redis.pexpire(key, 1_000_000);
  await store.verbs.append(message('alice', DM, 'a2'));
  expect(await store.redis.pttl(key)).toBeLessThanOrEqual(1_000_000);
});

test('the channel names the windows that hold something, and forgets those that are over', async () => {
  const window = await windowNow();
  const windows = () => store.redis.hget(keys.channel(DM), 'dedupe');
  await store.verbs.append(message('alice', DM, 'a1'));
  expect(await windows()).toBe(String(window));
  await store.redis.hset(keys.channel(DM), 'dedupe', `${window - 1} ${window - 2} ${window - 3}`);
  await store.verbs.append(message('alice', DM, 'a2'));
  expect(await windows()).toBe(`${window} ${window - 1} ${window - 2}`);
  await store.verbs.append(message('alice', DM, 'a3'));
  expect(await windows()).toBe(`${window} ${window - 1} ${window - 2}`);
});

test('a window that is not the present one is refused, and nothing is done', async () => {
  const window = (await windowNow()) - 1;
  const p = keys.partitionOf(DM);
  const reply = await run<[string, number]>(
    store.redis,
    'append',
    [keys.channel(DM), keys.log(p), keys.dedupe(DM, window), keys.unsaved(p)],
    [window, 'alice', 'a1', uuid(), DM, 'direct', 'x', '', '', '', 'x'],
  );
  expect(reply[0]).toBe('window');
  expect(Math.abs(reply[1] - (await nowMs(store.redis)))).toBeLessThan(5000);
  expect(await dump(store.redis)).toEqual({});
});

test('a caller whose clock is an hour off sends all the same, and recognises repeats', async () => {
  const first = await store.verbs.append(message('alice', DM, 'a1'));
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 3_600_000 });
  expect(await store.verbs.append(message('alice', DM, 'a1'))).toMatchObject({ seq: 1, duplicate: true });
  vi.setSystemTime(Date.now() + 9_000_000);
  expect(await store.verbs.append(message('alice', DM, 'a1'))).toEqual({ ...(first as object), duplicate: true });
});

describe('a group', () => {
  test('members send, under the version of members that holds', async () => {
    await group('alice', 'bob');
    expect(await store.verbs.append(message('bob', GROUP, 'b1'))).toMatchObject({ seq: 2 });
    await remove('bob');
    expect(await store.verbs.append(message('alice', GROUP, 'a1'))).toMatchObject({ seq: 4 });
    const entries = (await log(GROUP)).map(([, fields]) => fieldsOf(fields));
    expect(entries.map((e) => e.mv)).toEqual(['1', '1', '3', '3']);
    expect(await store.redis.hget(keys.channel(GROUP), 'kind')).toBe('group');
  });

  test('who is no member, or not any more, or in no such group, cannot tell these apart', async () => {
    expect(await store.verbs.append(message('alice', 'g:none', 'a1'))).toBe('not_found');
    await group('alice', 'bob');
    await store.verbs.append(message('bob', GROUP, 'b1'));
    await remove('bob');
    const before = await dump(store.redis);
    expect(await store.verbs.append(message('carol', GROUP, 'c1'))).toBe('not_found');
    expect(await store.verbs.append(message('bob', GROUP, 'b2'))).toBe('not_found');
    expect(await dump(store.redis)).toEqual(before);
    // A repeat sends nothing: its first answer stands.
    expect(await store.verbs.append(message('bob', GROUP, 'b1'))).toMatchObject({ seq: 2, duplicate: true });
  });
});

describe('a key of the wrong type fails the call before anything is written', () => {
  const cases: [string, string, (w: number) => string][] = [
    ['channel', DM, () => keys.channel(DM)],
    ['log', DM, () => keys.log(keys.partitionOf(DM))],
    ['dedupe', DM, (w) => keys.dedupe(DM, w)],
    ['dedupe before', DM, (w) => keys.dedupe(DM, w - 1)],
    ['dedupe before that', DM, (w) => keys.dedupe(DM, w - 2)],
    ['members', GROUP, () => keys.members(GROUP)],
  ];
  test.each(cases)('%s', async (_, channel, key) => {
    if (channel === GROUP) await group('alice');
    const window = await windowNow();
    const broken = key(window);
    if (channel === DM) await store.redis.hset(keys.channel(DM), 'dedupe', `${window - 1} ${window - 2}`);
    await store.redis.set(broken, 'x');
    const before = await dump(store.redis);
    await expect(store.verbs.append(message('alice', channel, 'a1'))).rejects.toThrow('WRONGTYPE');
    expect(await dump(store.redis)).toEqual(before);
    if (channel === GROUP) return;
    await store.redis.del(broken);
    expect(await store.verbs.append(message('alice', channel, 'a1'))).toMatchObject({ seq: 1, duplicate: false });
  });
});

test('out of memory: refused whole, and the repeat is no duplicate', async () => {
  await store.verbs.append(message('alice', DM, 'a1'));
  const before = await dump(store.redis);
  await expect(outOfMemory(store.redis, () => store.verbs.append(message('alice', DM, 'a2')))).rejects.toThrow('OOM');
  expect(await dump(store.redis)).toEqual(before);
  expect(await store.verbs.append(message('alice', DM, 'a2'))).toMatchObject({ seq: 2, duplicate: false });
});

test('the same client id from many callers at once makes one message', async () => {
  const all = await Promise.all(Array.from({ length: 200 }, () => store.verbs.append(message('alice', DM, 'a1'))));
  expect(new Set(all.map((r) => (typeof r === 'string' ? '' : r.id))).size).toBe(1);
  expect(all.filter((r) => typeof r !== 'string' && !r.duplicate)).toHaveLength(1);
  expect(await log(DM)).toHaveLength(1);
});

test('with a clock that went back, time stands still, and stays the millisecond of the log id', async () => {
  const ahead = (await nowMs(store.redis)) + 60_000;
  await store.redis.xadd(keys.log(keys.partitionOf(DM)), `${ahead}-7`, 'type', 'other');
  const sent = await store.verbs.append(message('alice', DM, 'a1'));
  expect(sent).toMatchObject({ seq: 1, ts: ahead });
  const [, entry] = await log(DM);
  expect(entry?.[0]).toBe(`${ahead}-8`);
  expect(fieldsOf(entry?.[1] ?? []).ts).toBe(String(ahead));
  expect(await store.verbs.append(message('alice', DM, 'a1'))).toEqual({ ...(sent as object), duplicate: true });
});

describe('a direct channel that does not exist', () => {
  const mayNot = (from: string, clientId: string) => ({ ...message(from, DM, clientId), mayCreate: false });

  test('is not made unless the caller says that it may be: the reply is new, and nothing is stored', async () => {
    expect(await store.verbs.append(mayNot('alice', 'a1'))).toBe('new');
    expect(await dump(store.redis)).toEqual({});
    expect(await store.verbs.append(message('alice', DM, 'a1'))).toMatchObject({ seq: 1, duplicate: false });
    expect(await store.redis.hget(keys.channel(DM), 'kind')).toBe('direct');
  });

  test('one that exists needs no leave, from neither of the two', async () => {
    await store.verbs.append(message('alice', DM, 'a1'));
    expect(await store.verbs.append(mayNot('alice', 'a1'))).toMatchObject({ seq: 1, duplicate: true });
    expect(await store.verbs.append(mayNot('alice', 'a2'))).toMatchObject({ seq: 2 });
    expect(await store.verbs.append(mayNot('bob', 'b1'))).toMatchObject({ seq: 3 });
  });
});

test('of a group the reply tells how many members it has now', async () => {
  await group('alice', 'bob', 'carol');
  expect(await store.verbs.append(message('alice', GROUP, 'a1'))).toMatchObject({ seq: 2, members: 3 });
  await remove('carol');
  expect(await store.verbs.append(message('alice', GROUP, 'a2'))).toMatchObject({ members: 2 });
});
