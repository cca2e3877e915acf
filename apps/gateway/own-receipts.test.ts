/** Who answers has read: when their own other devices are told of it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { TellInput } from '../../lib/redis/receipt-verbs.ts';
import { until } from '../../ops/until.ts';
import { OwnReceipts } from './own-receipts.ts';
import { type Api, startApi } from './routes/testing.ts';
import { openDevice, startGateway } from './testing.ts';

let api: Api;
let gateway: Awaited<ReturnType<typeof startGateway>>;
beforeAll(async () => {
  api = await startApi();
  gateway = await startGateway(api.ctx);
});
afterAll(async () => {
  await gateway?.stop();
  await api?.stop();
});

const receipt = (channel: string, read = 1): TellInput => ({
  ...{ to: 'bob', user: 'bob', via: 'phone', channel, delivered: read, read },
});

it('what is owed waits for a copy, the latest of each channel; once one came there is no waiting', () => {
  const own = new OwnReceipts();
  expect([own.hold(receipt('a')), own.hold(receipt('b')), own.hold(receipt('a', 3))]).toEqual([true, true, true]);
  expect(own.copied()).toEqual([receipt('a', 3), receipt('b')]);
  expect(own.copied()).toEqual([]);
  expect(own.hold(receipt('a', 4))).toBe(false);
});

it('at most 32 channels’ are owed', () => {
  const own = new OwnReceipts();
  const held = Array.from({ length: 40 }, (_, n) => own.hold(receipt(`channel ${n}`)));
  expect(held.lastIndexOf(true)).toBe(31);
  expect(own.hold(receipt('channel 3', 2))).toBe(true);
  expect(own.take()).toHaveLength(32);
  expect(own.take()).toEqual([]);
});

/** A message of the one, and the other's answer from their phone: what of it the other's laptop was told. */
async function answered(ann: string, bob: string) {
  const one = await openDevice(api, gateway, ann);
  const phone = await openDevice(api, gateway, bob);
  const laptop = await openDevice(api, gateway, bob, { device: 'laptop' });
  const channel = `dm:${ann}:${bob}`;
  await api.as(ann)('POST /v1/messages', { to: bob, client_id: 'c', content: 'hello' });
  phone.send({ type: 'send', to: ann, client_id: 'd', content: 'good day' });
  // Both would go in the same call.
  await until('the other hears of it', 10_000, () => one.of('receipt').length > 0);
  expect(one.of('receipt')).toMatchObject([{ channel, user: bob, delivered: 2, read: 2 }]);
  expect(await api.ctx.store.command.xlen(api.ctx.keys.inbox(bob))).toBe(0);
  const told = () => until('the laptop hears of it', 10_000, () => laptop.of('receipt').length > 0);
  return { phone, laptop, channel, told };
}

it('the other devices are told when the copy comes', async () => {
  const { phone, laptop, channel, told } = await answered('ann', 'bob');
  await api.fanOut(channel, ['bob']);
  await told();
  expect(laptop.of('receipt')).toMatchObject([{ channel, user: 'bob', delivered: 2, read: 2 }]);
  expect(phone.of('receipt')).toEqual([]);
});

it('and when the user’s last session here ends before it came', async () => {
  const { phone, laptop, channel } = await answered('cleo', 'dan');
  const elsewhere = { user: 'dan', device: 'tablet', session: 'there', gateway: 'another', maxSessions: 8 };
  await api.ctx.verbs.attach(elsewhere);
  laptop.socket.close();
  phone.socket.close();
  const inbox = () => api.ctx.store.command.xrange(api.ctx.keys.inbox('dan'), '-', '+');
  await until('the tablet is told', 10_000, async () => (await inbox()).length > 0);
  const [, fields = []] = (await inbox())[0] ?? [];
  expect(fields.slice(0, 10)).toEqual([
    'type',
    'receipt',
    'channel',
    channel,
    'user',
    'dan',
    'delivered',
    '2',
    'read',
    '2',
  ]);
});
