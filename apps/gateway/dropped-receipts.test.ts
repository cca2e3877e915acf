/** A full inbox drops receipts. Whom they were told, and who had not read them yet, hears of it: as a gap, over the wire. */
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { directChannel } from '../../lib/protocol/ids.ts';
import { ReceiptVerbs, type TellInput } from '../../lib/redis/receipt-verbs.ts';
import { INBOX_ENTRIES } from '../../lib/redis/verbs.ts';
import { block, delivery } from '../../lua/harness.ts';
import { until } from '../../ops/until.ts';
import { Hub } from './hub.ts';
import { type Api, startApi } from './routes/testing.ts';
import { buildServer } from './server.ts';
import { PAUSE_ABOVE_BYTES } from './session.ts';

interface Frame {
  type: string;
  [field: string]: unknown;
}

let api: Api;
let hub: Hub;
let gateway: Awaited<ReturnType<typeof buildServer>>;
let url: string;

beforeAll(async () => {
  api = await startApi();
  hub = new Hub(api.ctx);
  gateway = await buildServer(api.ctx, hub);
  await gateway.server.listen({ host: '127.0.0.1', port: 0 });
  url = `ws://127.0.0.1:${(gateway.server.server.address() as AddressInfo).port}/v1/ws`;
});
afterAll(async () => {
  gateway?.stopClock();
  for (const session of hub?.sessions.values() ?? []) session.socket.terminate();
  await gateway?.server.close();
  await hub?.stop();
  await api?.stop();
});

async function connect(user: string, device: string, since?: string) {
  const socket = new WebSocket(url, { headers: { authorization: api.authorization(user) } });
  const frames: Frame[] = [];
  socket.on('message', (data) => void frames.push(JSON.parse(String(data)) as Frame));
  await new Promise((resolve) => socket.once('open', resolve));
  socket.send(JSON.stringify({ type: 'hello', device, ...(since === undefined ? {} : { since }) }));
  const of = (type: string) => frames.filter((frame) => frame.type === type);
  await until(`${user} is live`, 10_000, () => of('live').length > 0);
  const session = [...hub.sessions.values()].find((s) => s.caller?.user === user && s.device === device);
  if (!session) throw new Error('there is no session');
  return { socket, frames, of, session };
}

/** A user whose inbox is full, since their laptop is away: and their phone, which has read all of it. */
async function fullInbox(user: string) {
  const { ctx } = api;
  const { verbs, keys } = ctx;
  await verbs.attach({ user, device: 'laptop', session: 'before', gateway: 'gone', maxSessions: 8 });
  await verbs.detach({ user, device: 'laptop', session: 'before', gateway: 'gone' });
  const phone = await connect(user, 'phone');
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
  await until('it is away', 10_000, () => !hub.sessions.has(phone.session.id));
  const again = await connect('cid', 'phone', since);
  expect(again.of('gap')).toEqual([]);
  expect(again.of('receipt').at(-1)).toMatchObject({ user: 'member-99' });
  again.socket.terminate();
});
