/** What people see of one another, on two gateways, over each kind of Redis that Millrace may be pointed at. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Conversations, History } from '../../lib/protocol/http.ts';
import { DEFAULT_LIMITS } from '../../lib/protocol/limits.ts';
import { startRedisCluster } from '../../ops/redis/cluster.ts';
import { startSentinel } from '../../ops/redis/sentinel.ts';
import { startRedis } from '../../ops/redis/server.ts';
import { until } from '../../ops/until.ts';
import { People, type Store } from './every-redis.ts';
import type { Frame, RawSession } from './raw-session.ts';

const TOPOLOGIES: readonly [string, () => Promise<Store>][] = [
  ['a standalone Redis', () => startRedis()],
  ['a Redis that Sentinels watch', () => startSentinel()],
  ['a Redis cluster of three', () => startRedisCluster()],
];

const end = (...sessions: RawSession[]) => Promise.all(sessions.map((session) => session.close()));
/** A frame that comes after all that was there. */
const fresh = (session: RawSession, type: string, fits: Partial<Frame>) => {
  const seen = new Set(session.frames);
  return session.next(type, (f) => !seen.has(f) && Object.entries(fits).every(([name, value]) => f[name] === value));
};

describe.each(TOPOLOGIES)('on %s', (_, startStore) => {
  let people: People;
  beforeAll(async () => {
    people = await People.on(startStore());
  });
  afterAll(async () => {
    const complaints = people?.complaints();
    await people?.stop();
    expect(complaints).toEqual([]);
  });

  it.concurrent('who watches is told online and offline, and since when; a reconnect within the grace is told nobody', async () => {
    const [alice, bob] = await Promise.all([people.start('alice', 0), people.start('bob', 1)]);
    await people.say(alice, { to: 'bob' });
    await bob.next('message');
    alice.send({ type: 'watch', users: ['bob', 'stranger'], ref: 'w' });
    expect(await alice.next('presence', { user: 'bob' })).toMatchObject({ status: 'online', ref: 'w' });
    expect(await alice.next('presence', { user: 'stranger' })).toMatchObject({ status: 'offline', last_seen: null });
    // From one gateway to the other: whatever said a word of it would have said it before bob’s real offline.
    await bob.close();
    const again = await people.start('bob', 0);
    await again.close();
    const closedAt = Date.now();
    const { last_seen } = await alice.next('presence', { user: 'bob', status: 'offline' });
    expect(Math.abs(Number(last_seen) - closedAt)).toBeLessThan(5_000);
    expect(alice.of('presence').filter(({ user }) => user === 'bob')).toHaveLength(2);
    const asked = await people.call('alice', 'GET /v1/presence?users=bob', undefined, { gateway: 1 });
    expect(asked).toEqual({ presence: [{ user: 'bob', status: 'offline', last_seen }] });
    const back = fresh(alice, 'presence', { user: 'bob', status: 'online' });
    const third = await people.start('bob', 1);
    expect(Number((await back).last_seen)).toBeGreaterThanOrEqual(Number(last_seen));
    await end(alice, third);
  });

  it.concurrent('typing goes from one gateway to the members on the other, and to nobody else', async () => {
    const [cleo, dan, eva] = await Promise.all([
      people.start('cleo', 0),
      people.start('dan', 1),
      people.start('eva', 1),
    ]);
    await people.say(cleo, { to: 'dan' });
    const channel = await people.group('cleo', ['dan', 'eva']);
    await eva.next('created', { channel });
    expect(await people.type(cleo, dan, 'dm:cleo:dan')).toEqual({
      type: 'typing',
      channel: 'dm:cleo:dan',
      user: 'cleo',
      on: expect.any(Boolean),
    });
    for (const session of [cleo, eva]) {
      expect(await people.type(dan, session, channel)).toMatchObject({ channel, user: 'dan' });
    }
    eva.send({ type: 'typing', channel: 'dm:cleo:dan', on: true, ref: 't' });
    expect(await eva.next('error', { ref: 't' })).toMatchObject({ code: 'forbidden' });
    expect(eva.of('typing').filter((frame) => frame.channel !== channel)).toEqual([]);
    await end(cleo, dan, eva);
  });

  it.concurrent('receipts are told in direct channels and small groups, and only to be asked for in groups over 32', async () => {
    const [fay, gil, hal] = await Promise.all([people.start('fay', 0), people.start('gil', 1), people.start('hal', 0)]);
    const crowd = Array.from({ length: DEFAULT_LIMITS.receipts_up_to - 2 }, (_, i) => `crowd-${i}`);
    const small = await people.group('fay', ['gil', 'hal']);
    const large = await people.group('fay', ['gil', 'hal', ...crowd]);
    for (const target of [{ channel: large }, { channel: small }, { to: 'gil' }]) {
      const { channel, seq } = await people.say(fay, target);
      const { offset } = await gil.next('message', { channel, seq });
      gil.send({ type: 'ack', offset });
      if (channel !== large) await fay.next('receipt', { channel, user: 'gil', delivered: seq, read: 0 });
      gil.send({ type: 'read', channel, seq });
      if (channel !== large) await fay.next('receipt', { channel, user: 'gil', delivered: seq, read: seq });
      for (const gateway of [0, 1]) {
        await until(
          'they are what they should be',
          10_000,
          () => people.receipts('fay', String(channel), gateway),
          (all) => all.some(({ user, delivered, read }) => user === 'gil' && delivered === seq && read === seq),
        );
      }
    }
    await hal.next('receipt', { channel: small, user: 'gil' });
    expect([...fay.of('receipt'), ...hal.of('receipt')].filter(({ channel }) => channel === large)).toEqual([]);
    await end(fay, gil, hal);
  });

  it.concurrent('what one device has read, the others know, wherever they are', async () => {
    const [ida, phone, laptop] = await Promise.all([
      people.start('ida', 0),
      people.start('jon', 0),
      people.start('jon', 1, 'laptop'),
    ]);
    for (const text of ['one', 'two', 'three']) await people.say(ida, { to: 'jon' }, text);
    await laptop.next('message', { seq: 3 });
    phone.send({ type: 'read', channel: 'dm:ida:jon', seq: 2 });
    await laptop.next('receipt', { channel: 'dm:ida:jon', user: 'jon', read: 2 });
    for (const gateway of [0, 1]) {
      const list = await people.call<Conversations>('jon', 'GET /v1/conversations', undefined, { gateway });
      expect(list).toMatchObject({ unread_total: 1, conversations: [{ read_seq: 2, unread: 1 }] });
    }
    await end(ida, phone, laptop);
  });

  it.concurrent('an edit and a deletion reach the other gateway and history', async () => {
    const [kim, lea] = await Promise.all([people.start('kim', 0), people.start('lea', 1)]);
    const first = await people.say(kim, { to: 'lea' }, 'frist');
    const second = await people.say(kim, { to: 'lea' }, 'a slip');
    const channel = 'dm:kim:lea';
    kim.send({ type: 'edit', client_id: 'edit', channel, seq: first.seq, content: 'first' });
    kim.send({ type: 'delete', client_id: 'delete', channel, seq: second.seq });
    expect(await lea.next('edited', { target: first.seq })).toMatchObject({ seq: 3, content: 'first' });
    expect(await lea.next('deleted', { target: second.seq })).toMatchObject({ seq: 4 });
    const { messages } = await people.call<History>('lea', `GET /v1/channels/${channel}/messages?after=0`, undefined, {
      gateway: 1,
    });
    expect(messages).toMatchObject([
      { type: 'message', content: 'first', edited_at: expect.any(Number) },
      { type: 'message', deleted: true },
      { type: 'edited' },
      { type: 'deleted' },
    ]);
    expect(JSON.stringify(messages)).not.toContain('slip');
    await end(kim, lea);
  });

  it.concurrent('who is away is pushed each message exactly once, who is there is not', async () => {
    const [mia, ned, ole] = await Promise.all([people.start('mia', 0), people.start('ned', 1), people.start('ole', 1)]);
    for (const user of ['ned', 'ole']) {
      await people.call(user, 'PUT /v1/devices/phone', { platform: 'android', push_token: `token-of-${user}` });
    }
    const present = await people.say(mia, { to: 'ole' });
    const { offset } = await ole.next('message', { id: present.id });
    ole.send({ type: 'ack', offset });
    await ned.close();
    await people.say(mia, { to: 'ned' });
    await until('ned is pushed', 25_000, () => people.fcm.sent('token-of-ned').length > 0);
    // What would be said twice would have been said before this one.
    await ole.close();
    await people.say(mia, { to: 'ole' });
    await until('ole is pushed', 25_000, () => people.fcm.sent('token-of-ole').length > 0);
    expect(['token-of-ned', 'token-of-ole'].map((token) => people.fcm.sent(token).length)).toEqual([1, 1]);
    await mia.close();
  }, 60_000);

  it.concurrent('a block forbids direct messages and hides typing and presence, both ways, until it is undone', async () => {
    const [pia, quin] = await Promise.all([people.start('pia', 0), people.start('quin', 1)]);
    const channel = 'dm:pia:quin';
    await people.say(pia, { to: 'quin' });
    await people.say(quin, { to: 'pia' });
    // Whose presence one sees says the conversation list, and that comes with the message.
    await Promise.all([pia.next('message', { from: 'quin' }), quin.next('message', { from: 'pia' })]);
    const both: [RawSession, string][] = [
      [pia, 'quin'],
      [quin, 'pia'],
    ];
    let round = 0;
    const see = async (status: string) => {
      const ref = `see-${++round}`;
      for (const [session, user] of both) {
        session.send({ type: 'watch', users: [user], ref });
        expect(await session.next('presence', { user, ref })).toMatchObject({ status });
      }
    };
    await see('online');
    await people.call('pia', 'PUT /v1/blocks/quin', undefined, { gateway: 1 });
    await see('offline');
    for (const [session, user] of both) {
      session.send({ type: 'typing', channel, on: true });
      session.send({ type: 'send', client_id: 'blocked', to: user, content: 'psst' });
      expect(await session.next('error', { client_id: 'blocked' })).toMatchObject({ code: 'forbidden' });
    }
    await people.call('pia', 'DELETE /v1/blocks/quin');
    await see('online');
    for (const [session, user] of both) await people.say(session, { to: user }, 'again');
    await Promise.all(both.map(([session]) => session.next('message', { content: 'again' })));
    expect([...pia.of('typing'), ...quin.of('typing')]).toEqual([]);
    await people.type(pia, quin, channel);
    await people.type(quin, pia, channel);
    await end(pia, quin);
  });

  it.concurrent('who is erased is closed on both gateways, leaves their groups, and history shows deleted messages', async () => {
    const [phone, laptop, sam] = await Promise.all([
      people.start('rae', 0),
      people.start('rae', 1, 'laptop'),
      people.start('sam', 1),
    ]);
    const group = await people.group('rae', ['sam']);
    await people.say(phone, { to: 'sam' }, 'a secret');
    await people.say(sam, { to: 'rae' }, 'an answer');
    await people.say(phone, { channel: group }, 'a secret for all');
    await sam.next('message', { channel: group });
    await people.call('rae', 'DELETE /v1/users/rae', undefined, { gateway: 1 });
    expect((await Promise.all([phone.ended, laptop.ended])).map(({ code }) => code)).toEqual([4001, 4001]);
    await until(
      'rae is erased',
      30_000,
      () => people.call<{ state: string }>('root', 'GET /v1/users/rae/erasure', undefined, { admin: true }),
      ({ state }) => state === 'done',
    );
    await sam.next('member', { channel: group, user: 'rae', action: 'removed' });
    for (const gateway of [0, 1]) {
      const path = 'GET /v1/channels/dm:rae:sam/messages?after=0';
      const { messages } = await people.call<History>('sam', path, undefined, { gateway });
      expect(messages).toMatchObject([{ from: 'rae', deleted: true }, { content: 'an answer' }]);
      const inGroup = await people.call('sam', `GET /v1/channels/${group}/messages`, undefined, { gateway });
      expect(JSON.stringify(inGroup)).not.toContain('secret');
    }
    await sam.close();
  }, 60_000);

  it.concurrent('welcome tells the limits: sends are counted by each gateway, new direct channels over all', async () => {
    const [one, two] = await Promise.all([people.start('tom', 0), people.start('tom', 1, 'laptop')]);
    const channel = await people.group('tom', ['una']);
    const { burst, sends_per_s } = DEFAULT_LIMITS;
    for (const session of [one, two]) {
      expect(session.of('welcome')[0]?.limits).toEqual(DEFAULT_LIMITS);
      const startedAt = performance.now();
      const ids = Array.from({ length: 2 * burst }, (_, i) => `${session === one ? 'one' : 'two'}-${i}`);
      for (const client_id of ids) session.send({ type: 'send', client_id, channel, content: 'quick' });
      const answers = () => [...session.of('accepted'), ...session.of('error')];
      await session.until(() => answers().length === ids.length, 'an answer to each');
      // What drips in while the test takes its time.
      const dripped = Math.ceil(((performance.now() - startedAt) / 1000) * sends_per_s);
      expect(session.of('accepted').length).toBeGreaterThanOrEqual(Math.min(burst, ids.length));
      expect(session.of('accepted').length).toBeLessThanOrEqual(burst + dripped);
      for (const error of session.of('error')) {
        expect(error).toMatchObject({ code: 'rate_limited', retry_after_ms: expect.any(Number) });
      }
    }
    const accounts = await Promise.all([people.start('vic', 0), people.start('vic', 1, 'laptop')]);
    for (let i = 0; i < 30; i++) await people.say(accounts[i % 2]!, { to: `new-${i}` });
    for (const [i, session] of accounts.entries()) {
      session.send({ type: 'send', client_id: 'over', to: `over-${i}`, content: 'hello' });
      expect(await session.next('error', { client_id: 'over' })).toMatchObject({ code: 'rate_limited' });
    }
    await end(one, two, ...accounts);
  });
});
