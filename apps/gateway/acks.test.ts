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
async function connect(user: string, device: string) {
  const session = `${user}-${device}`;
  const attached = await api.ctx.verbs.attach({ user, device, session, gateway: 'g', maxSessions: 8 });
  if (attached === 'too_many') throw new Error('too many');
  return session;
}
async function connected() {
  const user = `user-${users++}`;
  await connect(user, 'phone');
  return user;
}
/** Bob has a message of alice in their direct channel, and not acked it. */
async function written() {
  const [alice, bob] = [await connected(), await connected()];
  const channel = `dm:${[alice, bob].sort().join(':')}`;
  await api.as(alice)('POST /v1/messages', { to: bob, client_id: 'c', content: 'hello' });
  await api.fanOut(channel, [alice, bob]);
  return { alice, bob, channel, covers: new Map([[channel, 1]]) };
}
const receiptsIn = async (user: string) =>
  (await admin.xrange(api.ctx.keys.inbox(user), '-', '+')).filter(([, fields]) => fields[1] === 'receipt');
const ack = (user: string, offset: string, covers = new Map<string, number>()) => ({
  ...{ user, device: 'phone', from: ZERO, offset, covers, unknownTo: ZERO, again: false, few: false },
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
  const { bob, channel } = await written();
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

test('an ack of a device that is alone is told the sender, and nobody of one’s own', async () => {
  const { acks } = gateway();
  const { alice, bob, covers } = await written();
  const offset = later(7);
  acks.add(bob, ack(bob, offset, covers));
  await acks.flush();
  expect(await stored(bob)).toBe(offset);
  expect(await receiptsIn(alice)).toHaveLength(1);
  expect(await receiptsIn(bob)).toEqual([]);
});

test('a device that connects between the raising and the storing of what another has received is told of it', async () => {
  const { acks, receipts } = gateway();
  const { bob, channel, covers } = await written();
  const received = receipts.received.bind(receipts);
  receipts.received = async (mark) => {
    const receipt = await received(mark);
    await connect(bob, 'laptop');
    return receipt;
  };
  const offset = later(8);
  acks.add(bob, ack(bob, offset, covers));
  await acks.flush();
  const told = ['type', 'receipt', 'channel', channel, 'user', bob, 'delivered', '1', 'read', '0'];
  expect((await receiptsIn(bob)).map(([, fields]) => fields.slice(0, 10))).toEqual([told]);
  expect(await stored(bob)).toBe(offset);
});

test('while another device of one’s own is not told, the ack is not stored', async () => {
  const { acks, receipts } = gateway({ afterMs: 1, attemptsWhenGone: 100 });
  const { bob, covers } = await written();
  await connect(bob, 'laptop');
  const tellOwn = receipts.tellOwn.bind(receipts);
  receipts.tellOwn = () => Promise.reject(new Error('LOADING as after a restart'));
  const before = await counted('retries_total', 'ack');
  const offset = later(9);
  acks.add(bob, ack(bob, offset, covers));
  await until('it failed twice', 10_000, async () => (await counted('retries_total', 'ack')) >= before + 2);
  expect(await stored(bob)).not.toBe(offset);
  receipts.tellOwn = tellOwn;
  await until('it is stored', 20_000, async () => (await stored(bob)) === offset);
  expect(await receiptsIn(bob)).toHaveLength(1);
});
