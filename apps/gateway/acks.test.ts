import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { ZERO } from '../../lib/redis/ids.ts';
import { until } from '../../ops/until.ts';
import { Acks, type Retry } from './acks.ts';
import { Receipts } from './receipts.ts';
import { type Api, startApi } from './routes/testing.ts';

let api: Api;
/** May do everything, also while the gateway's own user may not. */
let admin: Redis;
const running: { acks: Acks; receipts: Receipts }[] = [];
beforeAll(async () => {
  api = await startApi();
  admin = new Redis(api.redis.url);
  await admin.acl('SETUSER', 'admin', 'on', '>x', '~*', '&*', '+@all');
  await admin.call('AUTH', 'admin', 'x');
});
afterEach(async () => {
  for (const { acks, receipts } of running.splice(0)) {
    acks.stop();
    receipts.stop();
  }
  await admin.acl('SETUSER', 'default', '+@all');
  await admin.config('SET', 'maxmemory', '0');
});
afterAll(async () => {
  admin.disconnect();
  await api.stop();
});

function gateway(retry?: Retry, ctx = api.ctx) {
  const receipts = new Receipts(ctx);
  const acks = new Acks(ctx, receipts, retry);
  running.push({ acks, receipts });
  return { acks, receipts };
}
let users = 0;
async function connected() {
  const user = `user-${users++}`;
  const attached = await api.ctx.verbs.attach({ user, device: 'phone', session: user, gateway: 'g', maxSessions: 8 });
  if (attached === 'too_many') throw new Error('too many');
  return user;
}
const ack = (user: string, offset: string, covers = new Map<string, number>()) => ({
  ...{ user, device: 'phone', from: ZERO, offset, covers, unknownTo: ZERO, again: false },
});
const stored = async (user: string) => (await admin.hget(api.ctx.keys.devices(user), 'device:phone'))?.split(' ')[0];
const later = (n: number) => `${Date.now() + 60_000 + n}-0`;
async function counted(name: string, operation: string): Promise<number> {
  const { values } = (await api.ctx.metrics.registry.getSingleMetric(`millrace_${name}`)?.get()) ?? { values: [] };
  return values.find(({ labels }) => labels.operation === operation)?.value ?? 0;
}
const logged = (text: string) => api.logged.filter((line) => line.includes(text)).length;

test('what may not be stored is given up: counted, logged once, and not tried again; the next ack is', async () => {
  const [before, retries] = [await counted('given_up_total', 'ack'), await counted('retries_total', 'ack')];
  const { acks } = gateway();
  const some = await Promise.all(Array.from({ length: 5 }, connected));
  await admin.acl('SETUSER', 'default', '-hset');
  for (const user of some) {
    acks.add(user, ack(user, later(1)));
    await acks.flush();
  }
  expect(await counted('given_up_total', 'ack')).toBe(before + 5);
  expect(logged('given up: an ack')).toBe(1);
  await admin.acl('SETUSER', 'default', '+hset');
  await acks.flush();
  const [first = ''] = some;
  const old = await stored(first);
  const offset = later(2);
  expect(old).not.toBe(offset);
  acks.add(first, ack(first, offset));
  await acks.flush();
  expect(await stored(first)).toBe(offset);
  expect(await counted('retries_total', 'ack')).toBe(retries);
});

test('what may pass is tried again until it is stored', async () => {
  const { acks } = gateway();
  const user = await connected();
  const offset = later(3);
  const before = await counted('retries_total', 'ack');
  await admin.config('SET', 'maxmemory', '1');
  acks.add(user, ack(user, offset));
  await until('it failed twice', 10_000, async () => (await counted('retries_total', 'ack')) >= before + 2);
  await admin.config('SET', 'maxmemory', '0');
  await until('it is stored', 20_000, async () => (await stored(user)) === offset);
});

test('of a session that is gone, no more than so many times', async () => {
  const { acks } = gateway({ afterMs: 1, attemptsWhenGone: 4 });
  const user = await connected();
  const before = await counted('given_up_total', 'ack');
  await admin.config('SET', 'maxmemory', '1');
  acks.add(user, ack(user, later(4)));
  await acks.settle(user);
  await until('it is given up', 10_000, async () => (await counted('given_up_total', 'ack')) === before + 1);
});

test('a receipt that may not be told is given up, and the read it came from is settled', async () => {
  const { receipts } = gateway();
  const [alice, bob] = [await connected(), await connected()];
  const [a, b] = [alice, bob].sort() as [string, string];
  const channel = `dm:${a}:${b}`;
  await api.as(alice)('POST /v1/messages', { to: bob, client_id: 'c', content: 'hello' });
  await api.fanOut(channel, [alice, bob]);
  const before = await counted('given_up_total', 'receipt');
  // Telling writes an inbox entry; raising and reading, of a device that is alone, do not.
  await admin.acl('SETUSER', 'default', '-xadd');
  expect(await receipts.read({ user: bob, channel, device: 'phone', delivered: 1, read: 1, again: false })).toBe(true);
  await until('it is given up', 10_000, async () => (await counted('given_up_total', 'receipt')) === before + 1);
  expect(await counted('retries_total', 'receipt')).toBe(0);
});

test('a group whose receipts cannot be told holds up no other group’s acks', async () => {
  const { store, keys } = api.ctx;
  const [alice, bob] = [await connected(), await connected()];
  const [well, broken] = await Promise.all(
    ['well', 'broken'].map(async (title) => {
      const { body } = await api.as(alice)('POST /v1/channels', { title, members: [bob] });
      return (body as { channel: string }).channel;
    }),
  );
  const hgetall = (key: string) =>
    key === keys.members(broken!) ? Promise.reject(new Error('NOPERM no such right')) : store.command.hgetall(key);
  const command = Object.create(store.command, { hgetall: { value: hgetall } });
  const { acks } = gateway(undefined, { ...api.ctx, store: { ...store, command } });
  const before = await counted('given_up_total', 'ack');
  const [a, b] = [later(5), later(6)];
  acks.add(alice, ack(alice, a, new Map([[broken!, 1]])));
  acks.add(bob, ack(bob, b, new Map([[well!, 1]])));
  await acks.flush();
  expect(await stored(bob)).toBe(b);
  expect(await stored(alice)).not.toBe(a);
  expect(await counted('given_up_total', 'ack')).toBe(before + 1);
});
