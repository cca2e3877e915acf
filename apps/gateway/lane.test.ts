/** What a lane reads when a bell says that it may wait, on a real Redis. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../ops/until.ts';
import { Feed } from './feed.ts';
import { Lane } from './lane.ts';
import { type Api, startApi } from './routes/testing.ts';
import type { Session } from './session.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api?.stop());

/** The least that a receipt waits for something else, timers being what they are. */
const LATER_MS = 150;

async function listening(...users: string[]) {
  const { ctx } = api;
  const { command } = ctx.store;
  await command.flushall();
  const feeds = new Map(
    users.map((user) => [user, new Feed(user, ctx.keys.partitionOf(user), ctx.keys.inbox(user), '0-0')]),
  );
  for (const feed of feeds.values()) feed.live.add({} as Session);
  const reads: { user: string; entries: string[]; at: number }[] = [];
  /** What the next handing out to the user waits for. */
  const held = new Map<string, Promise<void>>();
  const partitions = Array.from({ length: ctx.keys.partitions }, (_, p) => p);
  const lane = new Lane(ctx, partitions, {
    feedOf: (user) => feeds.get(user),
    feeds: () => feeds.values(),
    onEntries: (feed, { entries }) => {
      reads.push({ user: feed.user, entries: entries.map(({ fields }) => fields[1] ?? ''), at: performance.now() });
      const handed = () => {
        feed.position = entries.at(-1)?.id ?? feed.position;
      };
      const waits = held.get(feed.user);
      held.delete(feed.user);
      if (waits) return waits.then(handed);
      handed();
      return undefined;
    },
    onReplaced: () => undefined,
    onEnded: () => undefined,
    onOverlooked: () => undefined,
    onReconnect: () => undefined,
    onBatch: () => undefined,
  });
  /** An inbox's entry and the ring for it, in the pipeline. */
  const tell = (pipeline: ReturnType<typeof command.pipeline>, user: string, type: string, ...more: string[]) =>
    pipeline
      .xadd(ctx.keys.inbox(user), '*', 'type', type)
      .xadd(ctx.keys.bell(ctx.keys.partitionOf(user), ctx.incarnation), '*', 'users', user, ...more);
  const readOf = (user: string, times: number) =>
    until(
      `${user} is read`,
      10_000,
      () => reads.filter((read) => read.user === user).length,
      (count) => count === times,
    );
  return { lane, feeds, reads, held, tell, readOf, pipeline: () => command.pipeline() };
}

it('a receipt goes with what else rings for its user, in one read; another waits for its time', async () => {
  const { lane, reads, tell, readOf, pipeline } = await listening('alice', 'bob');
  const rungAt = performance.now();
  // In one write: all of it is there before the lane's first read of an inbox.
  const all = pipeline();
  tell(all, 'alice', 'receipt', 'later', '1');
  tell(all, 'bob', 'receipt', 'later', '1');
  tell(all, 'alice', 'message');
  await all.exec();
  await readOf('bob', 1);
  expect(reads).toMatchObject([
    { user: 'alice', entries: ['receipt', 'message'] },
    { user: 'bob', entries: ['receipt'] },
  ]);
  expect(reads[1]!.at - rungAt).toBeGreaterThan(LATER_MS);
  await lane.stop();
});

it('receipts alone come all the same, again and again; for sessions that are gone nothing is read', async () => {
  const { lane, feeds, reads, tell, readOf, pipeline } = await listening('alice', 'bob');
  feeds.get('bob')!.live.clear();
  await tell(tell(pipeline(), 'bob', 'receipt', 'later', '1'), 'alice', 'receipt', 'later', '1').exec();
  await readOf('alice', 1);
  await tell(pipeline(), 'alice', 'receipt', 'later', '1').exec();
  await readOf('alice', 2);
  expect(reads.map(({ user }) => user)).toEqual(['alice', 'alice']);
  await lane.stop();
});

it('a handing out that has to ask the store first holds up no other one: after a failover all have to', async () => {
  const { lane, reads, held, tell, readOf, pipeline } = await listening('alice', 'bob', 'carol');
  const [alice, bob] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  held.set('alice', alice.promise).set('bob', bob.promise);
  const all = pipeline();
  for (const user of ['alice', 'bob', 'carol']) tell(all, user, 'message');
  await all.exec();
  for (const user of ['alice', 'bob', 'carol']) await readOf(user, 1);

  // What fails is read again, and only when nobody is being handed anything any more.
  await tell(pipeline(), 'carol', 'message').exec();
  alice.reject(new Error('the store does not answer'));
  await new Promise((turn) => setImmediate(turn));
  expect(reads.map(({ user }) => user)).toEqual(['alice', 'bob', 'carol']);
  bob.resolve();
  await readOf('alice', 2);
  await readOf('carol', 2);
  expect(reads.filter(({ user }) => user === 'bob')).toHaveLength(1);
  await lane.stop();
});
