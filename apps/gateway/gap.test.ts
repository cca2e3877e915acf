/**
 * What a gap says, and when: with the first frame that a client sees of a channel, the channel begins for it. So a gap comes
 * before that, or what lay before is never asked for.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { block, delivery } from '../../lua/harness.ts';
import { born } from '../../ops/redis/born.ts';
import { until } from '../../ops/until.ts';
import { type Api, startApi } from './routes/testing.ts';
import { type HubTimes, openDevice, startGateway } from './testing.ts';

const DM = 'dm:ann:cid';
const NEVER_MS = 3600_000;

let api: Api;
let stop: (() => Promise<void>) | undefined;
beforeAll(async () => {
  api = await startApi();
});
afterEach(async () => {
  await stop?.();
  stop = undefined;
});
afterAll(() => api?.stop());

/** Whose conversation list is asked back from the archive waits until `release`. */
async function gatewayOf(times: HubTimes) {
  const { ctx } = api;
  await ctx.store.command.flushall();
  const asked = new Set<string>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const rebuild: typeof ctx.rebuild = Object.create(ctx.rebuild, {
    atOnce: {
      value: async (user: string) => {
        if (user === 'ann') {
          asked.add(user);
          await released;
        }
        return ctx.rebuild.atOnce(user);
      },
    },
  });
  await born(ctx.store.command, ctx.keys);
  const gateway = await startGateway({ ...ctx, rebuild }, times);
  stop = gateway.stop;
  return { ...gateway, asked, release };
}

let sources = 2000;
const deliver = (to: string, channel: string, seq: number) => {
  const { verbs, keys } = api.ctx;
  const more = { source: ++sources };
  const one = delivery('1-0', { channel, seq, from: 'cid', to: [to] });
  return verbs.deliver([block(keys.partitionOf(to), '0-0', [one], more)]);
};

function expectGapFirst({ frames }: Awaited<ReturnType<typeof openDevice>>) {
  const after = frames.slice(frames.findIndex(({ type }) => type === 'live') + 1);
  expect(after.filter(({ type }) => type === 'message')).toMatchObject([{ channel: DM, seq: 2 }]);
  expect(after[0]).toMatchObject({ type: 'gap', channels: [{ channel: DM, last_seq: 2 }] });
}

describe('when the store has lost what it had of a session, the gap comes first', () => {
  it('while their conversation list is still on its way back', async () => {
    const gateway = await gatewayOf({ everyMs: 50 });
    const ann = await openDevice(api, gateway, 'ann');
    const bob = await openDevice(api, gateway, 'bob');
    await api.ctx.store.command.flushall();
    await until('ann is registered again, and her list is asked for', 10_000, () => gateway.asked.has('ann'));
    await until('bob is registered again', 10_000, () => bob.of('gap').length > 0);
    await deliver('ann', DM, 2);
    await deliver('bob', 'dm:bob:cid', 2);
    // One lane reads for both: what ann is sent at once, she has been sent.
    await until('bob has his', 10_000, () => bob.of('message').length === 1);
    gateway.release();
    await until('ann has hers', 10_000, () => ann.of('message').length > 0);
    expectGapFirst(ann);
  });

  it.each(['a sweep finds', 'another device that comes back brings'])('where %s it', async (way) => {
    const gateway = await gatewayOf({ everyMs: NEVER_MS });
    gateway.release();
    const { store, verbs } = api.ctx;
    const ann = await openDevice(api, gateway, 'ann');
    await store.command.flushall();
    if (way === 'a sweep finds') {
      await verbs.attach({ user: 'ann', device: 'laptop', session: 'there', gateway: 'another', maxSessions: 8 });
      await deliver('ann', DM, 2);
      gateway.hub.mark(ann.session.feed!, 'sweep');
    } else {
      await openDevice(api, gateway, 'ann', { device: 'laptop' });
      await deliver('ann', DM, 2);
    }
    await until('ann has it', 10_000, () => ann.of('message').length > 0);
    expectGapFirst(ann);
  });
});

it('names what may be read, and no channel that the user has left', async () => {
  const gateway = await gatewayOf({});
  const { store, keys } = api.ctx;
  const marks = { [DM]: '3 1000 0 1', 'g:left': '9 1000 0 5 left', 'g:crew': '7 1000 2 5' };
  await store.command.hset(keys.conversations('ann'), marks);
  const ann = await openDevice(api, gateway, 'ann', { since: '1000-0' });
  const [gap] = ann.of('gap') as unknown as { channels: { channel: string }[] }[];
  expect(gap?.channels.toSorted((a, b) => a.channel.localeCompare(b.channel))).toEqual([
    { channel: DM, last_seq: 3 },
    { channel: 'g:crew', last_seq: 7 },
  ]);
});
