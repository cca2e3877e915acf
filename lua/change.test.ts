import { beforeAll, describe, expect, test } from 'vitest';
import { DEDUPE_WINDOW_MS } from '../lib/keyspace/index.ts';
import { type ChangeInput, ChangeVerbs } from '../lib/redis/change-verbs.ts';
import { block, delivery, dump, fieldsOf, keys, message, nowMs, outOfMemory, useStore, uuid } from './harness.ts';

const store = useStore();
const DM = 'dm:alice:bob';
const GROUP = 'g:team';
let changes: ChangeVerbs;
beforeAll(() => {
  changes = new ChangeVerbs(store.redis, keys);
});

const log = async (channel: string) =>
  (await store.redis.xrange(keys.log(keys.partitionOf(channel)), '-', '+')).map(([id, fields]) => ({
    logId: id,
    ...fieldsOf(fields),
  })) as (Record<string, string> & { logId: string })[];

async function sent(channel: string, from = 'alice', clientId = 'm1', content = 'first') {
  const reply = await store.verbs.append(message(from, channel, clientId, { content }));
  if (typeof reply === 'string') throw new Error(reply);
  return reply;
}

function change(target: { seq: number; id?: string }, clientId: string, more: Partial<ChangeInput> = {}) {
  const { channel = DM, from = 'alice', content } = more;
  const kind = channel.startsWith('dm:') ? ('direct' as const) : ('group' as const);
  const snippet = content === undefined ? {} : { snippet: content };
  return changes.change({ channel, kind, from, clientId, id: uuid(), target, ...snippet, ...more });
}
const windowNow = async () => Math.floor((await nowMs(store.redis)) / DEDUPE_WINDOW_MS);

test('an edit and a deletion take their place in the channel, and the changes of a channel are a chain', async () => {
  const first = await sent(DM);
  const edited = await change(first, 'e1', { content: 'second', via: 'phone' });
  const second = await sent(DM, 'bob', 'b1');
  const deleted = await change(first, 'd1');
  expect([edited, deleted]).toMatchObject([
    { seq: 2, duplicate: false },
    { seq: 4, duplicate: false },
  ]);
  const entries = await log(DM);
  expect(Object.entries(entries[1] ?? {})).toEqual(
    Object.entries({
      logId: entries[1]?.logId,
      type: 'edited',
      channel: DM,
      seq: '2',
      id: typeof edited === 'string' ? '' : edited.id,
      from: 'alice',
      cid: 'e1',
      ts: entries[1]?.logId.split('-')[0],
      prev: entries[0]?.logId,
      mv: '0',
      target: '1',
      target_id: first.id,
      prior: '0-0',
      content: 'second',
      via: 'phone',
    }),
  );
  expect(entries[3]).toMatchObject({ type: 'deleted', prev: entries[2]?.logId, prior: entries[1]?.logId });
  expect(entries[3]).not.toHaveProperty('content');
  expect(second.seq).toBe(3);
  expect(await store.redis.hgetall(keys.channel(DM))).toMatchObject({
    seq: '4',
    last: entries[3]?.logId,
    changed: entries[3]?.logId,
  });
  const walked = await store.verbs.walk(DM, entries[3]?.logId ?? '', 1, 50, 'prior');
  expect(walked.entries.map(({ id }) => id)).toEqual([entries[3]?.logId, entries[1]?.logId]);
});

test('the same client id again gets the first answer, though the message is deleted by now, in three windows', async () => {
  const first = await sent(DM);
  const edited = await change(first, 'e1', { content: 'second' });
  const deleted = await change(first, 'd1');
  const again = { ...(deleted as object), duplicate: true };
  expect(await change(first, 'd1')).toEqual(again);
  expect(await change(first, 'd1', { refusal: 'not_found' })).toEqual(again);
  expect(await change(first, 'e1', { content: 'other' })).toEqual({ ...(edited as object), duplicate: true });
  // Client ids are one name space over all that is sent.
  expect(await change(first, 'm1')).toMatchObject({ seq: 1, id: first.id, duplicate: true });
  expect(await store.verbs.append(message('alice', DM, 'd1'))).toMatchObject({ seq: 3, duplicate: true });
  const window = await windowNow();
  for (const back of [1, 2]) {
    await store.redis.rename(keys.dedupe(DM, window - back + 1), keys.dedupe(DM, window - back));
    expect(await change(first, 'd1')).toEqual(again);
    expect(await change(first, `e-${back}`, { content: 'late' })).toBe('not_found');
  }
  expect(await log(DM)).toHaveLength(3);
});

test('after a deletion nothing changes the message any more, whatever the caller had seen', async () => {
  const first = await sent(DM);
  const all = await Promise.all([
    change(first, 'd1'),
    ...Array.from({ length: 20 }, (_, i) => change(first, `e${i}`, { content: `late ${i}` })),
    change(first, 'd2'),
  ]);
  expect(all[0]).toMatchObject({ seq: 2 });
  expect(all.slice(1)).toEqual(Array.from({ length: 21 }, () => 'not_found'));
  const other = await sent(DM, 'alice', 'm2');
  expect(await change(other, 'e', { content: 'still possible' })).toMatchObject({ seq: other.seq + 1 });
});

test('what the caller found wrong is the answer, and nothing is written', async () => {
  const first = await sent(DM);
  const before = await dump(store.redis);
  for (const refusal of ['not_found', 'forbidden', 'unavailable'] as const) {
    expect(await change(first, `e-${refusal}`, { refusal, content: 'x' })).toBe(refusal);
  }
  expect(await dump(store.redis)).toEqual(before);
});

test('the conversation list shows the latest message as it is now, and an older one’s change changes nothing there', async () => {
  const first = await sent(DM);
  const latest = await sent(DM, 'bob', 'b1', 'latest');
  const shown = () => store.redis.hget(keys.channel(DM), 'message');
  await change(first, 'e1', { content: 'older' });
  expect(await shown()).toBe(`2 bob ${latest.ts} latest`);
  await change(latest, 'e2', { from: 'bob', content: 'with % and\nmore' });
  expect(await shown()).toBe(`2 bob ${latest.ts} with % and\nmore`);
  await change(latest, 'd2', { from: 'bob' });
  expect(await shown()).toBe(`2 bob ${latest.ts} `);
});

describe('a group', () => {
  test('who is not in it, or not any more, changes nothing; a repeat gets its first answer', async () => {
    await store.verbs.create({ channel: GROUP, id: uuid(), clientId: 'g', title: '', members: ['alice', 'bob'] });
    const first = await sent(GROUP, 'bob');
    const edited = await change(first, 'e1', { channel: GROUP, from: 'bob', content: 'x' });
    expect(edited).toMatchObject({ seq: 3 });
    expect(await change(first, 'c1', { channel: GROUP, from: 'carol', content: 'x' })).toBe('not_found');
    await store.verbs.removeMember(GROUP, { user: 'alice', service: false }, [uuid(), uuid()], 'bob');
    expect(await change(first, 'e2', { channel: GROUP, from: 'bob', content: 'x' })).toBe('not_found');
    expect(await change(first, 'e1', { channel: GROUP, from: 'bob', content: 'x' })).toEqual({
      ...(edited as object),
      duplicate: true,
    });
    expect((await log(GROUP)).map(({ mv }) => mv)).toEqual(['1', '1', '1', '4']);
    expect(await change({ seq: 1 }, 'x', { channel: 'g:none', content: 'x' })).toBe('not_found');
  });
});

test('where one blocks the other no text gets through by an edit, but one’s own may be deleted', async () => {
  const first = await sent(DM);
  await store.redis.hset(keys.channel(DM), 'blocked:alice', '1', 'blocked', '1');
  expect(await change(first, 'e1', { content: 'x' })).toBe('forbidden');
  expect(await change(first, 'd1')).toMatchObject({ seq: 2 });
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
    if (channel === GROUP) {
      await store.verbs.create({ channel: GROUP, id: uuid(), clientId: 'g', title: '', members: ['alice'] });
    } else {
      await sent(DM);
    }
    const broken = key(await windowNow());
    await store.redis.del(broken);
    await store.redis.set(broken, 'x');
    const before = await dump(store.redis);
    await expect(change({ seq: 1, id: uuid() }, 'e1', { channel, content: 'x' })).rejects.toThrow('WRONGTYPE');
    expect(await dump(store.redis)).toEqual(before);
  });
});

test('out of memory: refused whole, and the repeat is no duplicate', async () => {
  const first = await sent(DM);
  const before = await dump(store.redis);
  await expect(outOfMemory(store.redis, () => change(first, 'd1'))).rejects.toThrow('OOM');
  expect(await dump(store.redis)).toEqual(before);
  expect(await change(first, 'd1')).toMatchObject({ seq: 2, duplicate: false });
});

describe('delivered', () => {
  const deliver = async (entries: Parameters<typeof delivery>[1][]) => {
    const target = keys.partitionOf('bob');
    const deliveries = entries.map((entry, i) => delivery(`${1000 + entry.seq}-${i}`, entry));
    await store.verbs.deliver([block(target, '0-0', deliveries)]);
  };
  const mark = async (user: string) => await store.redis.hget(keys.conversations(user), DM);
  const to = ['bob'];

  test('a deletion takes an unread message out of the count, and a read one leaves it', async () => {
    await deliver([
      { seq: 1, to },
      { seq: 2, to },
      { seq: 3, to },
      { seq: 4, type: 'deleted', to, rest: ['target', '2'] },
    ]);
    expect(await mark('bob')).toBe('4 1003 2 0');
    await store.redis.del(keys.cursor(keys.partitionOf('bob')));
    await store.redis.hset(keys.conversations('bob'), DM, '4 1003 1 2');
    await deliver([
      { seq: 5, type: 'deleted', to, rest: ['target', '1'] },
      { seq: 6, type: 'deleted', to, rest: ['target', '3'] },
    ]);
    expect(await mark('bob')).toBe('6 1003 0 2');
  });

  test('an edit counts as nothing, and moves the conversation not up in the list', async () => {
    await deliver([
      { seq: 1, to },
      { seq: 2, type: 'edited', to, rest: ['target', '1', 'content', 'x'] },
    ]);
    expect(await mark('bob')).toBe('2 1001 1 0');
  });

  test('one’s own deletion lowers nothing of what others wrote', async () => {
    await deliver([
      { seq: 1, from: 'bob', to },
      { seq: 2, to },
      { seq: 3, from: 'bob', type: 'deleted', to, rest: ['target', '1'] },
    ]);
    expect(await mark('bob')).toBe('3 1002 1 1');
  });
});
