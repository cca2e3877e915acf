/**
 * Redis loses everything under traffic, and every process goes on: what was archived is all still there, what is accepted
 * afterwards is delivered and archived once, above all that was given out before.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ChannelEvent, MillraceClient } from '../../lib/client/index.ts';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';
import { unarchived } from './writers.ts';

const STRIDE = 2 ** 20;
const DIRECT = 'dm:ann:bob';

interface Sent {
  channel: string;
  clientId: string;
  seq: number;
  id: string;
}

interface Page {
  messages: { type: string; seq: number; id: string; content?: string }[];
  last_seq: number;
  complete_to: number;
}

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(2);
}, 60_000);
afterAll(() => stage?.clear());

/** Again with the same client id until it is accepted. */
async function send(channel: string, clientId: string): Promise<Sent> {
  for (;;) {
    try {
      const body = { channel, client_id: clientId, content: `text of ${clientId}` };
      const { seq, id } = await stage.call<{ seq: number; id: string }>('ann', 'POST /v1/messages', body);
      return { channel, clientId, seq, id };
    } catch (error) {
      if (!String(error).includes(': 503')) throw error;
      await sleep(20);
    }
  }
}

async function history(user: string, channel: string): Promise<{ ids: string[]; open: number }> {
  const ids: string[] = [];
  let open = 0;
  for (let before = ''; ; ) {
    const page = await stage.call<Page>(user, `GET /v1/channels/${channel}/messages?limit=200${before}`);
    ids.push(...page.messages.map(({ id }) => id));
    if (page.complete_to !== page.last_seq) open++;
    const last = page.messages.at(-1);
    if (!last) return { ids, open };
    before = `&before=${last.seq}`;
  }
}

it('everything is lost under traffic: nothing that was archived, no number twice, and all goes on', async () => {
  const { channel: group } = await stage.call<{ channel: string }>('ann', 'POST /v1/channels', {
    title: 'Tea',
    members: ['bob', 'cid', 'dan'],
  });
  await stage.call('ann', `PUT /v1/channels/${group}/members/cid`, { role: 'admin' });
  await stage.call('ann', `DELETE /v1/channels/${group}/members/dan`);
  const channels = [DIRECT, group];

  const shown: ChannelEvent[] = [];
  const bob = new MillraceClient({
    url: stage.gateway(0).address,
    token: stage.deployment.token('bob'),
    device: 'phone',
    reconnectBaseMs: 100,
    reconnectCapMs: 500,
  });
  bob.on('event', (event) => void shown.push(event));
  await bob.connect();
  const cid = await RawSession.start(stage.deployment, stage.gateway(1), 'cid');

  const sends = async (count: number): Promise<Sent[]> => {
    const sent: Sent[] = [];
    for (let i = 0; i < count; i++) sent.push(await send(channels[i % 2] ?? DIRECT, randomUUID()));
    return sent;
  };
  const archived = await sends(60);
  const settled = () => unarchived(channels, stage.store, stage.keys);
  await until('all is archived', 30_000, settled, (behind) => behind.length === 0);
  const offset = String((await cid.next('message')).offset);
  cid.socket.close();
  await cid.ended;
  const before = await stage.call(`ann`, `GET /v1/channels/${group}/members`);

  // Writers go on while it happens: what they are told before it may be lost, and its numbers are not given again.
  let running = true;
  const during: Sent[] = [];
  const writers = channels.map(async (channel) => {
    while (running) during.push(await send(channel, randomUUID()));
  });
  await until('traffic flows', 20_000, () => during.length > 20);
  await stage.store.flushall();
  const flushedAt = during.length;
  await until('traffic flows on', 30_000, () => during.length > flushedAt + 60);
  running = false;
  await Promise.all(writers);
  const after = await sends(40);

  const all = [...archived, ...during, ...after];
  expect(new Set(all.map(({ channel, seq }) => `${channel} ${seq}`)).size).toBe(all.length);
  for (const channel of channels) {
    const seqs = after.filter((sent) => sent.channel === channel).map(({ seq }) => seq);
    expect(Math.min(...seqs)).toBeGreaterThan(STRIDE);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  }
  // Above the hole it was accepted after the loss, whatever it had begun before.
  const kept = all.filter(({ seq }) => seq > STRIDE);
  await until('all is archived', 30_000, settled, (behind) => behind.length === 0);
  for (const channel of channels) {
    const { ids, open } = await history('bob', channel);
    expect(open).toBe(0);
    expect(new Set(ids).size).toBe(ids.length);
    const expected = [...archived, ...kept].filter((sent) => sent.channel === channel).map(({ id }) => id);
    expect(expected.filter((id) => !ids.includes(id))).toEqual([]);
  }

  const missing = () => {
    const ids = new Set(shown.map(({ id }) => id));
    return [...archived, ...kept].filter(({ id }) => !ids.has(id));
  };
  await until('bob was shown all of it', 40_000, missing, (left) => left.length === 0);
  expect(new Set(shown.map(({ id }) => id)).size).toBe(shown.length);
  for (const channel of channels) {
    const seqs = shown.filter((event) => event.channel === channel).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
  }

  const again = await stage.call<{ seq: number; duplicate: boolean }>('ann', 'POST /v1/messages', {
    channel: DIRECT,
    client_id: archived[0]?.clientId,
    content: 'again',
  });
  expect(again).toMatchObject({ seq: archived[0]?.seq, duplicate: true });

  expect(await stage.call('ann', `GET /v1/channels/${group}/members`)).toEqual(before);
  expect(await stage.call('ann', `GET /v1/channels/${group}`)).toMatchObject({
    title: 'Tea',
    owner: 'ann',
    members: 3,
  });
  await expect(stage.call('dan', `GET /v1/channels/${group}`)).rejects.toThrow('404');

  // A device that was away: told of the gap, with what to fill.
  const back = await RawSession.start(stage.deployment, stage.gateway(1), 'cid', { since: offset });
  const gap = back.frames.find(({ type }) => type === 'gap');
  const heads = gap?.channels as { channel: string; last_seq: number }[];
  expect(heads.find(({ channel }) => channel === group)?.last_seq).toBe(
    Math.max(...kept.filter(({ channel }) => channel === group).map(({ seq }) => seq)),
  );
  back.socket.close();

  const list = await stage.call<{
    conversations: { channel: string; title?: string; unread: number; last_seq: number }[];
  }>('cid', 'GET /v1/conversations');
  // Of the created, role and removed events, and of what was archived just before the loss, nothing is missing either.
  const events = 3;
  const inGroup = (await history('cid', group)).ids.length - events;
  expect(list.conversations).toMatchObject([{ channel: group, title: 'Tea', unread: inGroup }]);
  const own = await stage.call<{ conversations: { channel: string; unread: number }[] }>(
    'ann',
    'GET /v1/conversations',
  );
  expect(own.conversations.map(({ channel }) => channel).sort()).toEqual([...channels].sort());
  expect(own.conversations.map(({ unread }) => unread)).toEqual([0, 0]);

  // What is new begins as new.
  expect(
    (await stage.call<{ seq: number }>('ann', 'POST /v1/messages', { to: 'eve', client_id: 'e', content: 'hi' })).seq,
  ).toBe(STRIDE + 1);
  await bob.close({ timeoutMs: 1_000 });
}, 180_000);
