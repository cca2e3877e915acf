/** A full inbox drops receipts. Whom they were told, and who had not read them yet, hears of it: as a gap, over the wire. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { directChannel } from '../../lib/protocol/ids.ts';
import { ReceiptVerbs, type TellInput } from '../../lib/redis/receipt-verbs.ts';
import { INBOX_ENTRIES } from '../../lib/redis/verbs.ts';
import { block, delivery } from '../../lua/harness.ts';
import { until } from '../../ops/until.ts';
import { type Api, startApi } from './routes/testing.ts';
import { PAUSE_ABOVE_BYTES } from './session.ts';
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

/** A user whose inbox is full, since their laptop is away: and their phone, which has read all of it. */
async function fullInbox(user: string) {
  const { ctx } = api;
  const { verbs, keys } = ctx;
  await verbs.attach({ user, device: 'laptop', session: 'before', gateway: 'gone', maxSessions: 8 });
  await verbs.detach({ user, device: 'laptop', session: 'before', gateway: 'gone' });
  const phone = await openDevice(api, gateway, user);
  const channel = directChannel('bob', user);
  const messages = Array.from({ length: INBOX_ENTRIES }, (_, i) =>
    delivery(`${i + 1}-0`, { channel, seq: i + 1, from: 'bob', to: [user] }),
  );
  const target = keys.partitionOf(user);
  for (let i = 0; i < messages.length; i += 100) {
    const some = messages.slice(i, i + 100);
    await verbs.deliver([block(target, `${i}-0`, some, { source: 2000 + target })]);
  }
  await until('the phone has them', 20_000, () => phone.of('message').length === INBOX_ENTRIES);
  return { phone, receipts: new ReceiptVerbs(ctx.store.command, keys) };
}

const receiptOf = (to: string, n: number, delivered = 1): TellInput => ({
  ...{ to, channel: 'g:crew', user: `member-${n}`, delivered, read: 1, via: '' },
});

it('a live session that had not read them yet is told of a gap, before what comes after', async () => {
  const { phone, receipts } = await fullInbox('ann');
  const reached = phone.session.offset;
  // In one call, so that nobody reads in between. What supersedes one another leaves one: there are enough all the same.
  const rounds = Array.from({ length: 38 }, (_, i) => receiptOf('ann', 99, i + 2));
  const first = Array.from({ length: 100 }, (_, n) => receiptOf('ann', n));
  await receipts.tell([...first, ...rounds, receiptOf('ann', 100)]);
  await until('the latest receipt', 10_000, () => phone.of('receipt').some((f) => f.user === 'member-100'));
  expect(phone.of('gap')).toMatchObject([{ since: reached, channels: [{ channel: 'dm:ann:bob', last_seq: 500 }] }]);
  const types = phone.frames.slice(INBOX_ENTRIES).map(({ type }) => type);
  expect(types.indexOf('gap')).toBeLessThan(types.indexOf('receipt'));
  // Once: what comes now is read as it comes.
  await receipts.tell([receiptOf('ann', 200)]);
  await until('and the next', 10_000, () => phone.of('receipt').some((f) => f.user === 'member-200'));
  expect(phone.of('gap')).toHaveLength(1);
  phone.socket.terminate();
});

it('a client that did not read its socket meanwhile is told when it does; who comes back reads the state, and no gap', async () => {
  const { phone, receipts } = await fullInbox('cid');
  const since = phone.session.offset;
  phone.socket.pause();
  await until('the socket is full', 20_000, () => {
    phone.session.sendText(JSON.stringify({ type: 'filler', text: 'x'.repeat(60_000) }));
    return phone.session.raw.writableLength > 2 * PAUSE_ABOVE_BYTES;
  });
  await receipts.tell([receiptOf('cid', 0)]);
  await until('the phone is left behind', 10_000, () => phone.session.state === 'paused');
  for (let n = 1; n < 100; n++) await receipts.tell([receiptOf('cid', n)]);
  phone.socket.resume();
  await until('the phone reads on', 20_000, () => phone.of('receipt').some((f) => f.user === 'member-99'));
  expect(phone.of('gap')).toHaveLength(1);
  expect(phone.of('receipt').length).toBeLessThan(100);

  phone.socket.terminate();
  await until('it is away', 10_000, () => !gateway.hub.sessions.has(phone.session.id));
  const again = await openDevice(api, gateway, 'cid', { since });
  expect(again.of('gap')).toEqual([]);
  expect(again.of('receipt').at(-1)).toMatchObject({ user: 'member-99' });
  again.socket.terminate();
});
