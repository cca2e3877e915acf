import { describe, expect, test } from 'vitest';
import { compareIds } from '../lib/redis/ids.ts';
import { INBOX_ENTRIES, Verbs } from '../lib/redis/verbs.ts';
import {
  attached,
  block,
  DAY_MS,
  delivery,
  dump,
  type EventInput,
  fieldsOf,
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
const DM = 'dm:alice:bob';
const BOB = keys.partitionOf('bob');
const toBob = (logId: string, seq: number, more: Partial<EventInput> = {}) =>
  delivery(logId, { seq, to: ['bob'], ...more });
const conversation = (user: string, channel = DM) => store.redis.hget(keys.conversations(user), channel);
const seqs = async (user: string) => (await inboxOf(store.redis, user)).map((e) => Number(e.seq));
const deadOf = async (p: number) => (await store.redis.xrange(keys.dead(p), '-', '+')).map(([, f]) => fieldsOf(f));
const trimmed = (user: string) => store.redis.hget(keys.devices(user), 'trimmed');
/** Users of one partition, so that one block can hold them all. */
const neighbours = (n: number): string[] => {
  const found: string[] = [];
  for (let i = 0; found.length < n; i++) if (keys.partitionOf(`u${i}`) === BOB) found.push(`u${i}`);
  return found;
};

test('an entry arrives with its fields, the cursor moves with it, the gateway is rung', async () => {
  await attached(store.verbs, 'bob');
  const reply = await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1, { rest: ['content', 'a\0b'] })])]);
  expect(reply).toEqual({ replies: [{ status: 'ok', cursor: '5-0' }], rings: 1, setAside: 0, written: 1, lost: [] });
  const [entry] = await inboxOf(store.redis, 'bob');
  expect(entry).toEqual({
    offset: entry?.offset,
    type: 'message',
    channel: DM,
    seq: '1',
    id: 'id-1',
    from: 'alice',
    cid: 'c-1',
    ts: '1001',
    content: 'a\0b',
  });
  expect(await store.redis.hgetall(keys.cursor(BOB))).toEqual({ '3': '5-0' });
  expect(await rings(store.redis, 'gw1')).toEqual(['users bob']);
  expect(await store.redis.pttl(keys.inbox('bob'))).toBeGreaterThan(6 * DAY_MS);
  expect(await store.redis.pttl(keys.bell(BOB, 'gw1'))).toBeGreaterThan(50_000);
});

describe('the cursor decides', () => {
  test('equal: applied; the same batch twice: once', async () => {
    await attached(store.verbs, 'bob');
    const batch = [block(BOB, '0-0', [toBob('5-0', 1), toBob('5-1', 2)])];
    await store.verbs.deliver(batch);
    const before = await dump(store.redis);
    expect(await store.verbs.deliver(batch)).toEqual({
      replies: [{ status: 'ok', cursor: '5-1' }],
      rings: 0,
      setAside: 0,
      written: 0,
      lost: [],
    });
    expect(await dump(store.redis)).toEqual(before);
  });

  test('ahead, a zombie with an older `after`: only what lies beyond is applied', async () => {
    await attached(store.verbs, 'bob');
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1), toBob('6-0', 2)])]);
    const zombie = block(BOB, '0-0', [toBob('5-0', 1), toBob('6-0', 2), toBob('7-0', 3)]);
    expect((await store.verbs.deliver([zombie])).replies).toEqual([{ status: 'ok', cursor: '7-0' }]);
    expect(await seqs('bob')).toEqual([1, 2, 3]);
    const late = block(BOB, '0-0', [toBob('5-0', 1)]);
    expect((await store.verbs.deliver([late])).replies).toEqual([{ status: 'ok', cursor: '7-0' }]);
    expect(await seqs('bob')).toEqual([1, 2, 3]);
  });

  test('behind, after a failover: refused, nothing is written, the cursor is told', async () => {
    await attached(store.verbs, 'bob');
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1)])]);
    const before = await dump(store.redis);
    const reply = await store.verbs.deliver([block(BOB, '6-0', [toBob('7-0', 3)])]);
    expect(reply).toEqual({
      replies: [{ status: 'behind', cursor: '5-0' }],
      rings: 0,
      setAside: 0,
      written: 0,
      lost: [],
    });
    expect(await dump(store.redis)).toEqual(before);
    expect(
      (await store.verbs.deliver([block(BOB, '5-0', [toBob('6-0', 2), toBob('7-0', 3)])])).replies[0]?.status,
    ).toBe('ok');
    expect(await seqs('bob')).toEqual([1, 2, 3]);
  });

  test('a lost cursor is behind everything', async () => {
    expect((await store.verbs.deliver([block(BOB, '6-0', [])])).replies).toEqual([{ status: 'behind', cursor: '0-0' }]);
    expect((await store.verbs.deliver([block(BOB, '0-0', [])])).replies).toEqual([{ status: 'ok', cursor: '0-0' }]);
  });

  test('ids are compared as numbers', async () => {
    await attached(store.verbs, 'bob');
    await store.verbs.deliver([block(BOB, '0-0', [toBob('9-9', 1)])]);
    await store.verbs.deliver([block(BOB, '9-9', [toBob('9-10', 2), toBob('10-0', 3)])]);
    expect(await seqs('bob')).toEqual([1, 2, 3]);
    expect((await store.verbs.deliver([block(BOB, '10-1', [])])).replies).toEqual([
      { status: 'behind', cursor: '10-0' },
    ]);
    expect((await store.verbs.deliver([block(BOB, '9-10', [toBob('9-10', 2)])])).replies).toEqual([
      { status: 'ok', cursor: '10-0' },
    ]);
    expect(await seqs('bob')).toEqual([1, 2, 3]);
  });

  test('an empty batch moves the cursor of a quiet target, and never back', async () => {
    await store.verbs.deliver([block(BOB, '0-0', [], { last: '8-0' })]);
    expect(await store.redis.hget(keys.cursor(BOB), '3')).toBe('8-0');
    await store.verbs.deliver([block(BOB, '0-0', [], { last: '7-0' })]);
    expect(await store.redis.hget(keys.cursor(BOB), '3')).toBe('8-0');
  });

  test('several blocks: each source and target has its own, and one that is behind stops no other', async () => {
    const [one = '', two = ''] = neighbours(2);
    const other = Array.from({ length: 200 }, (_, i) => `v${i}`).find((u) => keys.partitionOf(u) !== BOB) ?? '';
    for (const user of [one, two, other]) await attached(store.verbs, user);
    const reply = await store.verbs.deliver([
      block(BOB, '0-0', [delivery('5-0', { seq: 1, to: [one, two] })], { source: 1 }),
      block(BOB, '9-0', [delivery('9-1', { seq: 7, to: [one] })], { source: 2 }),
      block(keys.partitionOf(other), '0-0', [delivery('5-0', { seq: 1, to: [other] })], { source: 1 }),
      block(BOB, '0-0', [delivery('4-0', { seq: 1, channel: 'g:x', to: [one] })], { source: 4 }),
    ]);
    expect(reply.replies.map((r) => r.status)).toEqual(['ok', 'behind', 'ok', 'ok']);
    expect(await seqs(one)).toEqual([1, 1]);
    expect(await seqs(other)).toEqual([1]);
    expect(await store.redis.hgetall(keys.cursor(BOB))).toEqual({ '1': '5-0', '4': '4-0' });
    // One ring per gateway and partition, whatever the number of blocks, entries and users.
    expect(reply.rings).toBe(2);
    expect((await rings(store.redis, 'gw1')).sort()).toEqual([`users ${one} ${two}`, `users ${other}`].sort());
  });
});

test('a floor lets the cursor jump over what the log no longer has; a repeat leaves the floor alone', async () => {
  await attached(store.verbs, 'bob');
  await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1)])]);
  const jump = block(BOB, '8-0', [toBob('9-0', 9)], { floor: true });
  const before = await nowMs(store.redis);
  expect((await store.verbs.deliver([jump])).replies).toEqual([{ status: 'ok', cursor: '9-0' }]);
  const floor = (await store.redis.hget(keys.cursor(BOB), 'floor')) ?? '';
  expect(Number(floor.split('-')[0])).toBeGreaterThanOrEqual(before);
  await tick(store.redis);
  await store.verbs.deliver([jump]);
  expect(await store.redis.hget(keys.cursor(BOB), 'floor')).toBe(floor);
  expect(await seqs('bob')).toEqual([1, 9]);
});

describe('who gets an entry', () => {
  test('a user unknown here, and one unseen for 7 days: the mark and `trimmed`, no entry', async () => {
    await attached(store.verbs, 'bob');
    await store.verbs.detach({ user: 'bob', device: 'phone', session: 'bob-phone-gw1', gateway: 'gw1' });
    await unseenFor(store.redis, 'bob', 'phone', 7 * DAY_MS + 1000);
    const [stranger = ''] = neighbours(1);
    const before = await nowMs(store.redis);
    await store.verbs.deliver([block(BOB, '0-0', [delivery('5-0', { seq: 1, to: ['bob', stranger] })])]);
    for (const user of ['bob', stranger]) {
      expect(await seqs(user)).toEqual([]);
      expect(await conversation(user)).toBe('1 1001 1 0');
      expect(Number((await trimmed(user))?.split('-')[0])).toBeGreaterThanOrEqual(before);
    }
    // Both learn of it when they come back.
    expect(await attached(store.verbs, 'bob')).toMatchObject({ gap: true, first: false });
    expect(await attached(store.verbs, stranger, 'phone', 'gw1', `${before - 1}-0`)).toMatchObject({
      gap: true,
      first: true,
    });
  });

  test('a connected user is not dormant, however long ago the device acked', async () => {
    await attached(store.verbs, 'bob');
    await unseenFor(store.redis, 'bob', 'phone', 8 * DAY_MS);
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1)])]);
    expect(await seqs('bob')).toEqual([1]);
  });

  test('a dormant mark never lowers `trimmed`', async () => {
    const high = `${(await nowMs(store.redis)) + 60_000}-0`;
    await store.redis.hset(keys.devices('bob'), 'trimmed', high);
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1)])]);
    expect(await trimmed('bob')).toBe(high);
  });

  const ownCases: [string, string[], string, number][] = [
    ['one device', ['phone'], 'phone', 0],
    ['two devices: both get it', ['phone', 'laptop'], 'phone', 1],
    ['one device, sent over HTTP', ['phone'], '', 1],
    ['no device, sent over HTTP', [], '', 0],
  ];
  test.each(ownCases)('the sender with %s', async (_, devices, via, copies) => {
    for (const device of devices) await attached(store.verbs, 'bob', device);
    const before = await trimmed('bob');
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1, { from: 'bob', via })])]);
    expect(await seqs('bob')).toHaveLength(copies);
    expect(await conversation('bob')).toBe('1 1001 0 1');
    if (copies === 0) expect(await trimmed('bob')).toBe(before);
  });

  test('a second device unseen for 7 days does not count', async () => {
    await attached(store.verbs, 'bob', 'laptop');
    await unseenFor(store.redis, 'bob', 'laptop', 7 * DAY_MS + 1000);
    await attached(store.verbs, 'bob', 'phone');
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1, { from: 'bob', via: 'phone' })])]);
    expect(await seqs('bob')).toEqual([]);
  });

  test("the sender's own event, other than a message, comes to their only device too", async () => {
    await attached(store.verbs, 'bob');
    const renamed = toBob('5-0', 1, {
      type: 'renamed',
      from: 'bob',
      via: 'phone',
      channel: 'g:x',
      rest: ['title', 't'],
    });
    await store.verbs.deliver([block(BOB, '0-0', [renamed])]);
    expect(await seqs('bob')).toEqual([1]);
  });
});

describe("the conversation's mark", () => {
  const member = (user: string, action: string) => ({
    type: 'member',
    channel: 'g:x',
    rest: ['user', user, 'action', action, 'role', 'member'],
  });
  const g = { channel: 'g:x' };

  test("counts others' messages, no events; one's own message reads everything", async () => {
    await attached(store.verbs, 'bob');
    const created = toBob('1-0', 1, { ...g, type: 'created', rest: ['members', 'alice bob', 'title', 't'] });
    await store.verbs.deliver([block(BOB, '0-0', [created])]);
    expect(await conversation('bob', 'g:x')).toBe('1 1001 0 0');
    await store.verbs.deliver([
      block(BOB, '1-0', [
        toBob('2-0', 2, g),
        toBob('3-0', 3, g),
        toBob('4-0', 4, { ...g, ...member('carol', 'added') }),
      ]),
    ]);
    expect(await conversation('bob', 'g:x')).toBe('4 1004 2 0');
    await store.verbs.deliver([block(BOB, '4-0', [toBob('5-0', 5, { ...g, from: 'bob', via: 'phone' })])]);
    expect(await conversation('bob', 'g:x')).toBe('5 1005 0 5');
    await store.verbs.deliver([block(BOB, '5-0', [toBob('6-0', 6, g)])]);
    expect(await conversation('bob', 'g:x')).toBe('6 1006 1 5');
  });

  test('an entry that comes again after a failover under a new log id counts once', async () => {
    await attached(store.verbs, 'bob');
    await store.verbs.deliver([block(BOB, '0-0', [toBob('2-0', 2, g), toBob('3-0', 2, g), toBob('4-0', 1, g)])]);
    expect(await conversation('bob', 'g:x')).toBe('2 1002 1 1');
  });

  test('added: unread begins there; removed: left; added again: begins anew', async () => {
    await attached(store.verbs, 'bob');
    const entries = [
      toBob('1-0', 7, { ...g, ...member('bob', 'added') }),
      toBob('2-0', 8, g),
      toBob('3-0', 9, { ...g, ...member('bob', 'removed') }),
    ];
    await store.verbs.deliver([block(BOB, '0-0', entries.slice(0, 2))]);
    expect(await conversation('bob', 'g:x')).toBe('8 1008 1 7');
    await store.verbs.deliver([block(BOB, '2-0', entries.slice(2))]);
    expect(await conversation('bob', 'g:x')).toBe('9 1009 1 7 left');
    await store.verbs.deliver([block(BOB, '3-0', [toBob('4-0', 15, { ...g, ...member('bob', 'added') })])]);
    expect(await conversation('bob', 'g:x')).toBe('15 1015 0 15');
  });
});

describe('bounds of an inbox', () => {
  test('over 500 entries the oldest go, and `trimmed` tells up to where', async () => {
    await attached(store.verbs, 'bob');
    const all = Array.from({ length: INBOX_ENTRIES + 3 }, (_, i) => toBob(`${i + 1}-0`, i + 1));
    await store.verbs.deliver([block(BOB, '0-0', all.slice(0, INBOX_ENTRIES))]);
    const third = (await inboxOf(store.redis, 'bob'))[2]?.offset ?? '';
    const second = (await inboxOf(store.redis, 'bob'))[1]?.offset ?? '';
    await store.verbs.deliver([block(BOB, `${INBOX_ENTRIES}-0`, all.slice(INBOX_ENTRIES))]);
    expect(await seqs('bob')).toEqual(all.slice(3).map((_, i) => i + 4));
    expect(await trimmed('bob')).toBe(third);
    expect((await attached(store.verbs, 'bob', 'phone', 'gw1', third)).gap).toBe(false);
    expect((await attached(store.verbs, 'bob', 'phone', 'gw1', second)).gap).toBe(true);
  });

  test('an overflow never lowers `trimmed`', async () => {
    await attached(store.verbs, 'bob');
    const all = Array.from({ length: INBOX_ENTRIES + 1 }, (_, i) => toBob(`${i + 1}-0`, i + 1));
    await store.verbs.deliver([block(BOB, '0-0', all.slice(0, INBOX_ENTRIES))]);
    const high = `${(await nowMs(store.redis)) + 60_000}-0`;
    await store.redis.hset(keys.devices('bob'), 'trimmed', high);
    await store.verbs.deliver([block(BOB, `${INBOX_ENTRIES}-0`, all.slice(INBOX_ENTRIES))]);
    expect(await trimmed('bob')).toBe(high);
  });

  test('an expired inbox begins anew, and an older offset is a gap', async () => {
    const { tail } = await attached(store.verbs, 'bob');
    await store.redis.del(keys.inbox('bob'));
    await tick(store.redis);
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1)])]);
    const [entry] = await inboxOf(store.redis, 'bob');
    const mark = (await trimmed('bob')) ?? '';
    expect(compareIds(mark, tail)).toBeGreaterThan(0);
    expect(compareIds(mark, entry?.offset ?? '')).toBeLessThan(0);
    expect(await store.redis.pttl(keys.inbox('bob'))).toBeGreaterThan(0);
    expect(await attached(store.verbs, 'bob')).toMatchObject({ gap: true, oldest: entry?.offset });
  });

  test('an expired inbox whose last offsets lie ahead of the clock: the new entry comes after them', async () => {
    await attached(store.verbs, 'bob');
    await store.redis.del(keys.inbox('bob'));
    const ahead = `${(await nowMs(store.redis)) + 60_000}-7`;
    await store.redis.hset(keys.devices('bob'), 'trimmed', ahead);
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1)])]);
    const entries = await inboxOf(store.redis, 'bob');
    expect(entries).toHaveLength(1);
    expect(compareIds(entries[0]?.offset ?? '', ahead)).toBeGreaterThan(0);
    expect(await trimmed('bob')).toBe(ahead);
  });

  test('an inbox emptied by acks is no new one', async () => {
    await attached(store.verbs, 'bob');
    const before = await trimmed('bob');
    await store.verbs.deliver([block(BOB, '0-0', [toBob('5-0', 1)])]);
    expect(await trimmed('bob')).toBe(before);
  });
});

describe('a user whose keys are broken is set aside, and everybody else gets theirs', () => {
  test.each(['inbox', 'devices', 'conversations', 'sessions'] as const)('%s', async (kind) => {
    const [ann = '', ben = '', eve = ''] = neighbours(3);
    for (const user of [ann, ben, eve]) await attached(store.verbs, user);
    const { tail } = await attached(store.verbs, eve, 'tablet');
    await store.redis.set(keys[kind](eve), 'x');
    const batch = [1, 2].map((n) => delivery(`${n}-0`, { seq: n, to: [ann, eve, ben] }));
    const reply = await store.verbs.deliver([block(BOB, '0-0', batch)]);
    expect(reply).toMatchObject({ replies: [{ status: 'ok', cursor: '2-0' }], setAside: 2 });
    expect(await seqs(ann)).toEqual([1, 2]);
    expect(await seqs(ben)).toEqual([1, 2]);
    const dead = await deadOf(BOB);
    expect(dead).toHaveLength(2);
    expect(dead[0]).toMatchObject({ user: eve, type: 'message', seq: '1', content: 'text 1' });
    expect(dead[0]?.reason).toContain('WRONGTYPE');
    // The gap that follows names the head of what was set aside.
    if (kind !== 'conversations') expect(await conversation(eve)).toMatch(/^2 /);
    // The same batch again adds nothing.
    await store.verbs.deliver([block(BOB, '0-0', batch)]);
    expect(await deadOf(BOB)).toHaveLength(2);
    // After the repair the next attach is a gap, once.
    await store.redis.del(keys[kind](eve));
    expect(await attached(store.verbs, eve, 'phone', 'gw2', tail)).toMatchObject({ gap: true });
    expect(await store.redis.hexists(keys.devices(eve), 'broken')).toBe(0);
  });

  test('a broken dead-letter stream does not make anyone get an entry twice', async () => {
    const [ann = '', eve = ''] = neighbours(2);
    for (const user of [ann, eve]) await attached(store.verbs, user);
    await store.redis.set(keys.inbox(eve), 'x');
    await store.redis.set(keys.dead(BOB), 'x');
    const batch = [block(BOB, '0-0', [delivery('1-0', { seq: 1, to: [ann, eve] })])];
    expect(await store.verbs.deliver(batch)).toMatchObject({ replies: [{ status: 'ok', cursor: '1-0' }], setAside: 1 });
    await store.verbs.deliver(batch);
    expect(await seqs(ann)).toEqual([1]);
    expect(await store.redis.hexists(keys.devices(eve), 'broken')).toBe(1);
  });

  test('a broken cursor stops its own target only', async () => {
    const other = Array.from({ length: 200 }, (_, i) => `v${i}`).find((u) => keys.partitionOf(u) !== BOB) ?? '';
    for (const user of ['bob', other]) await attached(store.verbs, user);
    await store.redis.del(keys.cursor(BOB));
    await store.redis.set(keys.cursor(BOB), 'x');
    const blocks = [
      block(keys.partitionOf(other), '0-0', [delivery('1-0', { seq: 1, to: [other] })]),
      block(BOB, '0-0', [toBob('1-0', 1)]),
    ];
    const { replies } = await store.verbs.deliver(blocks);
    expect(replies[0]).toEqual({ status: 'ok', cursor: '1-0' });
    expect(replies[1]).toMatchObject({ status: 'aborted', cursor: '0-0', error: expect.stringContaining('WRONGTYPE') });
    expect(await seqs(other)).toEqual([1]);
    expect(await seqs('bob')).toEqual([]);
  });

  test('a broken bell is only a lost hint', async () => {
    await attached(store.verbs, 'bob');
    await store.redis.set(keys.bell(BOB, 'gw1'), 'x');
    expect((await store.verbs.deliver([block(BOB, '0-0', [toBob('1-0', 1)])])).replies[0]?.status).toBe('ok');
    expect(await seqs('bob')).toEqual([1]);
  });
});

describe('out of memory aborts and can be repeated with nothing doubled', () => {
  test.each(['live', 'dormant', 'own', 'inbox broken', 'devices broken'])('first recipient: %s', async (kind) => {
    const [first = '', ann = ''] = neighbours(2);
    await attached(store.verbs, ann);
    if (kind !== 'dormant') await attached(store.verbs, first);
    if (kind === 'inbox broken') await store.redis.set(keys.inbox(first), 'x');
    if (kind === 'devices broken') await store.redis.set(keys.devices(first), 'x');
    const from = kind === 'own' ? first : 'alice';
    const batch = [
      block(BOB, '0-0', [
        delivery('1-0', { seq: 1, from, via: 'phone', to: [first, ann] }),
        delivery('2-0', { seq: 2, to: [ann] }),
      ]),
    ];
    const before = await dump(store.redis);
    const refused = await outOfMemory(store.redis, () => store.verbs.deliver(batch));
    expect(refused.replies).toMatchObject([
      { status: 'aborted', cursor: '0-0', error: expect.stringContaining('OOM') },
    ]);
    expect(refused).toMatchObject({ rings: 0, setAside: 0 });
    expect(await dump(store.redis)).toEqual(before);
    const again = await store.verbs.deliver(batch);
    expect(again.replies).toEqual([{ status: 'ok', cursor: '2-0' }]);
    expect(await seqs(ann)).toEqual([1, 2]);
    expect(await conversation(ann)).toBe('2 1002 2 0');
  });

  test('an empty batch', async () => {
    const refused = await outOfMemory(store.redis, () => store.verbs.deliver([block(BOB, '0-0', [], { last: '5-0' })]));
    expect(refused.replies).toMatchObject([{ status: 'aborted', cursor: '0-0' }]);
  });
});

describe('a right that is missing is nobody’s own: nobody is set aside, the entry waits, and then comes once', () => {
  test.each(['hkeys', 'hmget', 'hvals', 'hget', 'xlen', 'pexpire', 'hset', 'xadd'])('%s', async (command) => {
    const [ann = '', eve = ''] = neighbours(2);
    for (const user of [ann, eve]) await attached(store.verbs, user);
    await attached(store.verbs, eve, 'tablet');
    // Of eve's own message her other device is looked for, which takes other commands than ann's does.
    const batch = [block(BOB, '0-0', [delivery('1-0', { seq: 1, from: eve, to: [ann, eve] })])];
    await store.redis.acl('SETUSER', 'limited', 'reset', 'on', '>x', '~*', '&*', '+@all', `-${command}`);
    const limited = store.redis.duplicate({ username: 'limited', password: 'x' });
    for (let i = 0; i < 3; i++) {
      const reply = await new Verbs(limited, keys).deliver(batch).catch(() => undefined);
      expect(reply?.replies[0]?.status).toBe('aborted');
    }
    limited.disconnect();
    await store.verbs.deliver(batch);
    expect(await seqs(ann)).toEqual([1]);
    expect(await seqs(eve)).toEqual([1]);
    expect(await deadOf(BOB)).toEqual([]);
    for (const user of [ann, eve]) expect(await store.redis.hexists(keys.devices(user), 'broken')).toBe(0);
    expect(await conversation(ann)).toBe('1 1001 1 0');
  });
});

test('one ring per gateway and batch, naming each user once', async () => {
  const [ann = '', ben = ''] = neighbours(2);
  await attached(store.verbs, ann, 'phone', 'gw1');
  await attached(store.verbs, ann, 'laptop', 'gw1');
  await attached(store.verbs, ann, 'tablet', 'gw2');
  await attached(store.verbs, ben, 'phone', 'gw1');
  const batch = [1, 2, 3].map((n) => delivery(`${n}-0`, { seq: n, to: [ann, ben] }));
  expect((await store.verbs.deliver([block(BOB, '0-0', batch)])).rings).toBe(2);
  expect(await rings(store.redis, 'gw1')).toEqual([`users ${ann} ${ben}`]);
  expect(await rings(store.redis, 'gw2')).toEqual([`users ${ann}`]);
});

test('offline users ring nothing', async () => {
  await attached(store.verbs, 'bob');
  await store.verbs.detach({ user: 'bob', device: 'phone', session: 'bob-phone-gw1', gateway: 'gw1' });
  expect((await store.verbs.deliver([block(BOB, '0-0', [toBob('1-0', 1)])])).rings).toBe(0);
  expect(await seqs('bob')).toEqual([1]);
});
