/** How fast registrations are asserted again: a storm of reasons makes no storm of commands. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../ops/until.ts';
import type { Feed } from './feed.ts';
import { Hub } from './hub.ts';
import { Registrations } from './registrations.ts';
import { type Api, startApi } from './routes/testing.ts';
import type { Session } from './session.ts';
import { Sweeper } from './sweep.ts';

const USERS = 1000;
const PER_CALL = 64;
const PACE_MS = 20;

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api?.stop());

interface Call {
  users: string[];
  at: number;
  endedAt: number;
}

/** A thousand users with a session each, registered; and each call that asserts some of them. */
async function crowd() {
  const { ctx } = api;
  await ctx.store.command.flushall();
  const calls: Call[] = [];
  /** Called when a call has been sent. */
  const hooks = { asked: () => {}, afterFloor: async (_: string) => {}, tellGap: async (_: Session) => {} };
  const verbs = Object.create(ctx.verbs) as typeof ctx.verbs;
  verbs.detach = (session) => ctx.verbs.detach(session);
  verbs.reassert = async (gateway, sessions) => {
    const call: Call = { users: sessions.map(({ user }) => user), at: performance.now(), endedAt: Infinity };
    calls.push(call);
    queueMicrotask(() => hooks.asked());
    try {
      return await ctx.verbs.reassert(gateway, sessions);
    } finally {
      call.endedAt = performance.now();
    }
  };
  const feeds = Array.from({ length: USERS }, (_, i) => {
    const feed = { user: `user-${i}`, sessions: new Set<Session>(), live: new Set() } as unknown as Feed;
    const session = { id: `s${i}`, device: 'phone', offset: '0-0', open: true, feed, gapToldTo: '0-0' };
    feed.sessions.add(session as unknown as Session);
    return feed;
  });
  const [limits, gateway] = [{ maxSessions: 8, maxDevices: 8 }, ctx.incarnation];
  await Promise.all(
    feeds.map(({ user }, i) => ctx.verbs.attach({ user, device: 'phone', session: `s${i}`, gateway, ...limits })),
  );
  const registrations = new Registrations({ ...ctx, verbs });
  const rebuild = { afterFloor: (user: string) => hooks.afterFloor(user) };
  const hub = {
    ...{ ctx: { ...ctx, verbs, rebuild }, registrations, feeds: () => feeds, mark: () => {} },
    missed: Hub.prototype.missed,
    tellWhenWhole: Hub.prototype.tellWhenWhole,
    tellGap: (session: Session) => hooks.tellGap(session),
  } as unknown as Hub;
  const sweeper = new Sweeper(hub);
  const users = feeds.map(({ user }) => user);
  const online = async () => (await ctx.presence.presenceOf(users)).filter(({ status }) => status === 'online').length;
  return { feeds, calls, hooks, registrations, sweeper, online };
}

it('a store that forgot presence hears of all again: in few commands, one after the other, with pauses', async () => {
  const { feeds, calls, sweeper, online } = await crowd();
  const forgotten = (await api.ctx.store.command.keys('*')).filter((key) => /^(presence|sessions|served):/.test(key));
  await api.ctx.store.command.del(...forgotten);
  expect(await online()).toBe(0);
  // Every partition has the same reason, twice.
  for (let i = 0; i < 2; i++) sweeper.assert(feeds);
  await until('all are online', 20_000, online, (count) => count === USERS);
  sweeper.stop();
  expect(calls).toHaveLength(Math.ceil(USERS / PER_CALL));
  expect(Math.max(...calls.map(({ users }) => users.length))).toBe(PER_CALL);
  expect(new Set(calls.flatMap(({ users }) => users)).size).toBe(USERS);
  // Timers count whole milliseconds.
  for (const [i, { at }] of calls.slice(1).entries()) {
    expect(at - (calls[i]?.endedAt ?? 0)).toBeGreaterThanOrEqual(PACE_MS - 2);
  }
});

it('what fails is asserted again, also paced; who has left meanwhile is not', async () => {
  const { feeds, calls, sweeper } = await crowd();
  await api.ctx.store.command.call('ACL', 'SETUSER', 'default', '-evalsha', '-eval');
  try {
    sweeper.assert(feeds);
    await until(
      'a call failed',
      20_000,
      () => calls.length,
      (count) => count > 0,
    );
  } finally {
    await api.ctx.store.command.call('ACL', 'SETUSER', 'default', '+@all');
  }
  for (const feed of feeds.slice(-100)) feed.sessions.clear();
  await until(
    'all the others are asserted',
    20_000,
    () => new Set(calls.flatMap(({ users }) => users)).size,
    (n) => n >= USERS - 100,
  );
  sweeper.stop();
  expect(calls.flatMap(({ users }) => users)).not.toContain(`user-${USERS - 1}`);
});

it('who leaves while they are asserted stays away, though the store carries that out last', async () => {
  const { feeds, calls, hooks, registrations, sweeper } = await crowd();
  const { command } = api.ctx.store;
  const [leaver, other] = feeds.map((feed) => ({ feed, session: [...feed.sessions][0] as Session }));
  if (!leaver || !other) throw new Error('there is nobody');
  // As after a restart: it knows no script, but the one of the first who left.
  await command.script('FLUSH');
  await registrations.detach(other.session, other.feed.user);
  const { user } = leaver.feed;
  const detached = new Promise<void>((resolve, reject) => {
    hooks.asked = () => {
      leaver.feed.sessions.clear();
      registrations.detach(leaver.session, user).then(resolve, reject);
    };
  });
  sweeper.assert([leaver.feed]);
  await detached;
  await until('the call has ended', 20_000, () => (calls[0]?.endedAt ?? Infinity) < Infinity);
  sweeper.stop();
  expect(await command.exists(api.ctx.keys.sessions(user))).toBe(0);
  expect(await command.zscore(api.ctx.keys.leaving(api.ctx.keys.partitionOf(user)), user)).not.toBeNull();
});

it('a gap that cannot be told at once is told in the end, though the store tells of it only once; nobody else hears theirs again', async () => {
  const { feeds, calls, hooks, sweeper } = await crowd();
  const [one, other] = feeds.map((feed) => [...feed.sessions][0] as Session);
  if (!one || !other) throw new Error('there is nobody');
  // They have been sent what a failover lost.
  for (const session of [one, other]) session.offset = `${Date.now()}-7`;
  const told: string[] = [];
  let looked = 0;
  hooks.afterFloor = async (user) => {
    if (user === one.feed?.user && ++looked === 1) throw new Error('LOADING Redis is loading');
  };
  hooks.tellGap = async ({ id }) => {
    told.push(id);
    if (id === one.id && told.filter((each) => each === id).length < 3) throw new Error('LOADING Redis is loading');
  };
  sweeper.assert([one, other].map(({ feed }) => feed as Feed));
  await until(
    'it was told in the end',
    20_000,
    () => told.filter((id) => id === one.id).length,
    (n) => n === 3,
  );
  sweeper.stop();
  expect(told.filter((id) => id === other.id)).toHaveLength(1);
  expect(calls).toHaveLength(1);
});
