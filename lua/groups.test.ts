import { describe, expect, test } from 'vitest';
import { dump, fieldsOf, keys, message, outOfMemory, useStore, uuid } from './harness.ts';

const store = useStore();
const GROUP = 'g:team';
const by = (user: string, service = false) => ({ user, service });
const create = (members: string[], title = 'Team') =>
  store.verbs.create({ channel: GROUP, id: uuid(), clientId: 'c1', title, members });
const put = (who: string, user: string, role = '', o: { most?: number; service?: boolean } = {}) =>
  store.verbs.putMember(GROUP, by(who, o.service), [uuid(), uuid()], user, role, o.most ?? 500);
const remove = (who: string, user: string, service = false) =>
  store.verbs.removeMember(GROUP, by(who, service), [uuid(), uuid()], user);
const rename = (who: string, title: string, service = false) =>
  store.verbs.rename(GROUP, by(who, service), uuid(), title);
const members = () => store.redis.hgetall(keys.members(GROUP));
const channel = () => store.redis.hgetall(keys.channel(GROUP));
const events = async () =>
  (await store.redis.xrange(keys.log(keys.partitionOf(GROUP)), '-', '+')).map(([, fields]) => fieldsOf(fields));
const last = async () => (await events()).at(-1) ?? {};

/** Owner ann, admin ben, members cat and dan. */
async function team(): Promise<void> {
  await create(['ann', 'ben', 'cat', 'dan']);
  await put('ann', 'ben', 'admin');
}

async function expectNothing(calls: [() => Promise<string>, string][]): Promise<void> {
  for (const [call, reply] of calls) {
    const before = await dump(store.redis);
    expect(await call()).toBe(reply);
    expect(await dump(store.redis)).toEqual(before);
  }
}

describe('create', () => {
  test('the first event lists the members; the creator owns the group', async () => {
    expect(await create(['ann', 'ben', 'cat'])).toBe('created');
    const [event] = await store.redis.xrange(keys.log(keys.partitionOf(GROUP)), '-', '+');
    expect(event?.[1].filter((_, i) => i % 2 === 0)).toEqual([
      'type',
      'channel',
      'seq',
      'id',
      'from',
      'cid',
      'ts',
      'prev',
      'mv',
      'members',
      'title',
    ]);
    expect(fieldsOf(event?.[1] ?? [])).toMatchObject({
      type: 'created',
      channel: GROUP,
      seq: '1',
      from: 'ann',
      cid: 'c1',
      ts: event?.[0].split('-')[0],
      prev: '0-0',
      mv: '1',
      members: 'ann ben cat',
      title: 'Team',
    });
    expect(await channel()).toMatchObject({
      kind: 'group',
      seq: '1',
      last: event?.[0],
      owner: 'ann',
      title: 'Team',
      members_version: '1',
      member_count: '3',
    });
    expect(await members()).toEqual({ ann: 'owner 1-', ben: 'member 1-', cat: 'member 1-' });
  });

  test('a repeat changes nothing; without a title the event has none; who is named twice is in it once', async () => {
    await create(['ann', 'ben', 'ann', 'ben'], '');
    expect(await last()).not.toHaveProperty('title');
    expect(await last()).toMatchObject({ members: 'ann ben' });
    expect(await channel()).toMatchObject({ member_count: '2', title: '' });
    await expectNothing([[() => create(['eve']), 'exists']]);
  });

  test('a group of 3000', async () => {
    await create(Array.from({ length: 3000 }, (_, i) => `u${i}`));
    expect(await store.redis.hlen(keys.members(GROUP))).toBe(3000);
    expect(await store.redis.hget(keys.members(GROUP), 'u2999')).toBe('member 1-');
  });

  test.each(['channel', 'members', 'log'] as const)('%s of the wrong type: nothing is written', async (kind) => {
    await store.redis.set(kind === 'log' ? keys.log(keys.partitionOf(GROUP)) : keys[kind](GROUP), 'x');
    const before = await dump(store.redis);
    await expect(create(['ann'])).rejects.toThrow('WRONGTYPE');
    expect(await dump(store.redis)).toEqual(before);
  });

  test('out of memory: nothing is written, the repeat creates', async () => {
    await expect(outOfMemory(store.redis, () => create(['ann']))).rejects.toThrow('OOM');
    expect(await dump(store.redis)).toEqual({});
    expect(await create(['ann'])).toBe('created');
  });
});

describe('rename', () => {
  test('by owner, admin and service; the same title again makes no event', async () => {
    await team();
    for (const [who, title] of [
      ['ann', 'A'],
      ['ben', 'B \0 b'],
    ] as const) {
      expect(await rename(who, title)).toBe('ok');
      expect(await last()).toMatchObject({ type: 'renamed', title, from: who, mv: '2' });
      expect(await channel()).toMatchObject({ title, members_version: '2' });
    }
    expect(await rename('robot', 'S', true)).toBe('ok');
    expect(await channel()).toMatchObject({ seq: '5', title: 'S' });
    await expectNothing([
      [() => rename('ann', 'S'), 'ok'],
      [() => rename('cat', 'X'), 'forbidden'],
      [() => rename('eve', 'X'), 'not_found'],
      [() => store.verbs.rename('g:none', by('ann', true), uuid(), 'X'), 'not_found'],
    ]);
    await remove('ben', 'ben');
    await expectNothing([[() => rename('ben', 'X'), 'not_found']]);
  });
});

describe('adding and roles', () => {
  test('owner and admins add; the new member is one from that event on', async () => {
    await team();
    expect(await put('ben', 'eve')).toBe('ok');
    expect(await last()).toMatchObject({
      type: 'member',
      seq: '3',
      user: 'eve',
      action: 'added',
      role: 'member',
      from: 'ben',
      mv: '3',
    });
    expect(await members()).toMatchObject({ eve: 'member 3-' });
    expect(await channel()).toMatchObject({ members_version: '3', member_count: '5', seq: '3' });
    expect(await put('ann', 'fay', 'admin')).toBe('ok');
    expect(await members()).toMatchObject({ fay: 'admin 4-' });
    expect(await put('robot', 'gil', '', { service: true })).toBe('ok');
  });

  test('who may not, cannot; what is so already makes no event', async () => {
    await team();
    await expectNothing([
      [() => put('cat', 'eve'), 'forbidden'],
      [() => put('cat', 'dan'), 'forbidden'],
      [() => put('eve', 'eve'), 'not_found'],
      [() => put('ben', 'eve', 'admin'), 'forbidden'],
      [() => put('ben', 'cat', 'admin'), 'forbidden'],
      [() => put('ben', 'ben', 'member'), 'forbidden'],
      [() => put('ben', 'ben', 'owner'), 'forbidden'],
      [() => put('ann', 'eve', 'owner'), 'bad_request'],
      [() => put('ann', 'ann', 'member'), 'bad_request'],
      [() => put('ann', 'ann', 'owner'), 'ok'],
      [() => put('ann', 'cat'), 'ok'],
      [() => put('ann', 'ben'), 'ok'],
      [() => put('ben', 'cat', 'member'), 'ok'],
      [() => store.verbs.putMember('g:none', by('ann', true), ['a', 'b'], 'eve', '', 500), 'not_found'],
    ]);
  });

  test('the owner makes an admin and unmakes one', async () => {
    await team();
    expect(await put('ann', 'ben', 'member')).toBe('ok');
    expect(await last()).toMatchObject({ action: 'role', user: 'ben', role: 'member', from: 'ann' });
    expect(await members()).toMatchObject({ ben: 'member 1-' });
    expect(await channel()).toMatchObject({ members_version: '3', member_count: '4' });
  });

  test('the owner gives the group away and becomes an admin', async () => {
    await team();
    expect(await put('ann', 'cat', 'owner')).toBe('ok');
    expect((await events()).slice(-2)).toMatchObject([
      { seq: '3', action: 'role', user: 'cat', role: 'owner' },
      { seq: '4', action: 'role', user: 'ann', role: 'admin', prev: expect.stringMatching(/^\d+-\d+$/) },
    ]);
    expect(await channel()).toMatchObject({ owner: 'cat', seq: '4', members_version: '4' });
    expect(await members()).toMatchObject({ cat: 'owner 1-', ann: 'admin 1-' });
    await expectNothing([[() => put('ann', 'dan', 'admin'), 'forbidden']]);
  });

  test('a service gives a group away for its owner', async () => {
    await team();
    expect(await put('robot', 'ben', 'owner', { service: true })).toBe('ok');
    expect(await members()).toMatchObject({ ben: 'owner 1-', ann: 'admin 1-' });
  });

  test('one member more than allowed is a conflict; a present one is not', async () => {
    await create(Array.from({ length: 500 }, (_, i) => `u${i}`));
    await expectNothing([
      [() => put('u0', 'more'), 'conflict'],
      [() => put('u0', 'u7'), 'ok'],
    ]);
    await remove('u0', 'u7');
    expect(await put('u0', 'more')).toBe('ok');
    await expectNothing([[() => put('u0', 'u7'), 'conflict']]);
  });
});

describe('removing', () => {
  test('closes the interval with the event, which is the last that they get; a rejoin opens another', async () => {
    await team();
    expect(await remove('ben', 'cat')).toBe('ok');
    expect(await last()).toMatchObject({
      seq: '3',
      action: 'removed',
      user: 'cat',
      role: 'member',
      from: 'ben',
      mv: '3',
    });
    expect(await members()).toMatchObject({ cat: 'member 1-3' });
    expect(await channel()).toMatchObject({ member_count: '3', members_version: '3' });
    await store.verbs.append(message('ann', GROUP, 'a1'));
    await put('ann', 'cat', 'admin');
    expect(await members()).toMatchObject({ cat: 'admin 1-3,5-' });
    await remove('ann', 'cat');
    await put('ann', 'cat');
    expect(await members()).toMatchObject({ cat: 'member 1-3,5-6,7-' });
    expect(await channel()).toMatchObject({ member_count: '4' });
  });

  test('who may not, cannot; a repeat makes no event', async () => {
    await team();
    await put('ann', 'dan', 'admin');
    await expectNothing([
      [() => remove('cat', 'ben'), 'forbidden'],
      [() => remove('cat', 'eve'), 'forbidden'],
      [() => remove('ben', 'ann'), 'forbidden'],
      [() => remove('ben', 'dan'), 'forbidden'],
      [() => remove('eve', 'cat'), 'not_found'],
      [() => remove('eve', 'eve'), 'not_found'],
      [() => remove('ben', 'eve'), 'ok'],
      [() => store.verbs.removeMember('g:none', by('ann', true), ['a', 'b'], 'ann'), 'not_found'],
    ]);
    expect(await remove('cat', 'cat')).toBe('ok');
    await expectNothing([
      [() => remove('cat', 'cat'), 'ok'],
      [() => remove('ann', 'cat'), 'ok'],
      [() => remove('cat', 'dan'), 'not_found'],
    ]);
  });

  test('an admin leaves; the owner removes an admin', async () => {
    await team();
    expect(await remove('ben', 'ben')).toBe('ok');
    await put('ann', 'dan', 'admin');
    expect(await remove('ann', 'dan')).toBe('ok');
    // Coming back, one is what one was added as.
    await put('ann', 'dan');
    expect(await members()).toMatchObject({ dan: expect.stringMatching(/^member /) });
  });

  test('the owner leaves: the oldest admin inherits, by joining', async () => {
    await create(['ann', 'ben']);
    await put('ann', 'zoe', 'admin');
    await put('ann', 'cat', 'admin');
    expect(await remove('ann', 'ann')).toBe('ok');
    expect((await events()).slice(-2)).toMatchObject([
      { action: 'removed', user: 'ann', role: 'owner' },
      { action: 'role', user: 'zoe', role: 'owner', from: 'ann' },
    ]);
    expect(await channel()).toMatchObject({ owner: 'zoe', member_count: '3', members_version: '5', seq: '5' });
    expect(await members()).toMatchObject({ ann: 'member 1-4', zoe: 'owner 2-' });
  });

  test('without an admin the oldest member inherits; a rejoin counts from the rejoin; ties go by bytes', async () => {
    await create(['ann', 'bob', 'Bob', 'a']);
    await remove('ann', 'Bob');
    await put('ann', 'Bob');
    await remove('ann', 'ann');
    expect(await channel()).toMatchObject({ owner: 'a' });
    await remove('a', 'a');
    expect(await channel()).toMatchObject({ owner: 'bob' });
    await remove('bob', 'bob');
    expect(await channel()).toMatchObject({ owner: 'Bob' });
    expect(await remove('Bob', 'Bob')).toBe('ok');
    expect(await channel()).toMatchObject({ owner: '', member_count: '0' });
    expect((await last()).action).toBe('removed');
    expect(await put('robot', 'eve', '', { service: true })).toBe('ok');
  });

  test('a service removes the owner', async () => {
    await team();
    expect(await remove('robot', 'ann', true)).toBe('ok');
    expect(await channel()).toMatchObject({ owner: 'ben' });
    expect(await last()).toMatchObject({ user: 'ben', role: 'owner', from: 'robot' });
  });
});

test('each event points at the one before', async () => {
  await team();
  await put('ann', 'cat', 'owner');
  await store.verbs.append(message('dan', GROUP, 'd1'));
  await remove('cat', 'cat');
  const entries = await store.redis.xrange(keys.log(keys.partitionOf(GROUP)), '-', '+');
  const all = entries.map(([id, fields]) => ({ logId: id, ...fieldsOf(fields) }) as Record<string, string>);
  expect(all.map((e) => e.seq)).toEqual(all.map((_, i) => String(i + 1)));
  expect(all.map((e) => e.prev)).toEqual(['0-0', ...all.slice(0, -1).map((e) => e.logId)]);
  expect((await channel()).last).toBe(all.at(-1)?.logId);
});

describe('a key of the wrong type, or no memory: nothing is written', () => {
  const calls: [string, () => Promise<string>][] = [
    ['rename', () => rename('ann', 'X')],
    ['put', () => put('ann', 'eve')],
    ['role', () => put('ann', 'cat', 'owner')],
    ['remove', () => remove('ann', 'ann')],
  ];
  test.each(calls)('%s', async (_, call) => {
    await team();
    const whole = await dump(store.redis);
    await expect(outOfMemory(store.redis, call)).rejects.toThrow('OOM');
    expect(await dump(store.redis)).toEqual(whole);
    for (const key of [keys.log(keys.partitionOf(GROUP)), keys.members(GROUP), keys.channel(GROUP)]) {
      await store.redis.rename(key, 'aside');
      await store.redis.set(key, 'x');
      const before = await dump(store.redis);
      await expect(call()).rejects.toThrow('WRONGTYPE');
      expect(await dump(store.redis)).toEqual(before);
      await store.redis.rename('aside', key);
    }
    expect(await call()).toBe('ok');
  });
});
