/** Every server frame, provoked over the wire on two gateways, has exactly the fields that the reference says. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serverFrames } from '../../lib/protocol/frames.ts';
import { DEFAULT_LIMITS } from '../../lib/protocol/limits.ts';
import { ask } from './ask.ts';
import { expectExactly } from './exactly.ts';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
let phone: RawSession;
let laptop: RawSession;
let ben: RawSession;
let cyd: RawSession;
let group: string;
const sessions: RawSession[] = [];

async function start(user: string, gateway: number, device = 'phone', since?: string) {
  const options = { device, ...(since === undefined ? {} : { since }) };
  const session = await RawSession.start(stage.deployment, stage.gateway(gateway), user, options);
  sessions.push(session);
  return session;
}

beforeAll(async () => {
  stage = await Stage.set();
  phone = await start('ann', 0);
  laptop = await start('ann', 1, 'laptop');
  ben = await start('ben', 1);
  cyd = await start('cyd', 0);
  const { body } = await ask(stage, 'ann', 'POST /v1/channels', { body: { title: 'Crew', members: ['ben'] } });
  group = (body as { channel: string }).channel;
});
afterAll(() => stage?.clear());

const everybody = (type: string, fits: Partial<Frame>) =>
  Promise.all([phone, laptop, ben].map((session) => session.next(type, { channel: group, ...fits })));
const sansOffset = ({ offset, ...rest }: Frame) => rest;

describe('on one session', () => {
  it('welcome comes first, with the session, where it starts, the heartbeat and the limits', () => {
    const limits = { ...DEFAULT_LIMITS, sends_per_s: 1_000_000, burst: 1_000_000 };
    expect(phone.frames[0]).toEqual({
      type: 'welcome',
      user: 'ann',
      device: 'phone',
      session: expect.any(String),
      offset: expect.stringMatching(/^\d+-\d+$/),
      resumed: false,
      heartbeat_ms: 30_000,
      limits,
    });
    expect(laptop.frames[0]?.session).not.toBe(phone.frames[0]?.session);
    expect(phone.frames.find(({ type }) => type === 'live')).toEqual({ type: 'live', offset: phone.frames[0]?.offset });
  });

  it('ref comes back in accepted, refreshed, pong, presence and error, and in nothing without one', async () => {
    const ref = 'x'.repeat(64);
    const asked: [object, string][] = [
      [{ type: 'send', client_id: 'ref', to: 'ben', content: 'hello' }, 'accepted'],
      [{ type: 'edit', client_id: 'ref-e', channel: 'dm:ann:ben', seq: 1, content: 'hallo' }, 'accepted'],
      [{ type: 'delete', client_id: 'ref-d', channel: 'dm:ann:ben', seq: 1 }, 'accepted'],
      [{ type: 'refresh', token: stage.deployment.token('ann') }, 'refreshed'],
      [{ type: 'ping', n: 7 }, 'pong'],
      [{ type: 'watch', users: ['ben'] }, 'presence'],
      [{ type: 'hello', device: 'phone' }, 'error'],
      [{ type: 'ack', offset: 'x' }, 'error'],
      [{ type: 'read', channel: 'dm:x:y', seq: 1 }, 'error'],
      [{ type: 'typing', channel: 'g:none', on: true }, 'error'],
      [{ type: 'unwatch', users: 5 }, 'error'],
      [{ type: 'nothing' }, 'error'],
    ];
    for (const [i, [frame, answer]] of asked.entries()) {
      const own = `${i}-${ref}`.slice(0, 64);
      phone.send({ ...frame, ref: own });
      await phone.next(answer, { ref: own });
      const before = phone.of(answer).length;
      phone.send(frame);
      const bare = await phone.until(() => phone.of(answer)[before], `${answer} without ref`);
      expect(bare).not.toHaveProperty('ref');
    }
  });

  it('pong has the n of its ping, the largest and the least too, and the store’s kind of time', async () => {
    for (const n of [0, -1, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) {
      phone.send({ type: 'ping', n });
      const { ts } = await phone.next('pong', { n });
      expect(Math.abs(Number(ts) - Date.now())).toBeLessThan(60_000);
    }
    expect(await phone.ping('without n')).not.toHaveProperty('n');
  });

  it('an error names the client_id that it is about', async () => {
    phone.send({ type: 'send', client_id: 'refused', channel: 'dm:x:y', content: 'x' });
    expect(await phone.next('error', { client_id: 'refused' })).toEqual({
      type: 'error',
      code: 'forbidden',
      message: expect.any(String),
      client_id: 'refused',
    });
  });

  it('a second hello is refused and the session lives on, as it was', async () => {
    phone.send({ type: 'hello', device: 'other', token: stage.deployment.token('ben'), ref: 'again' });
    expect(await phone.next('error', { ref: 'again' })).toMatchObject({ code: 'bad_request' });
    await phone.ping('lives on');
  });
});

describe('across two gateways', () => {
  it('created goes to all first members and every device of theirs, with seq 1', async () => {
    const [one, two, three] = await everybody('created', { seq: 1, title: 'Crew', by: 'ann' });
    expect(one).toEqual(two);
    expect(sansOffset(one!)).toEqual(sansOffset(three!));
    const { body } = await ask(stage, 'ann', 'POST /v1/channels', { body: { members: ['ben'] } });
    const untitled = await ben.next('created', { channel: (body as { channel: string }).channel });
    expect(untitled).not.toHaveProperty('title');
  });

  it('accepted, message, edited and deleted tell one place, to every device, with what was sent', async () => {
    const sent = { client_id: 'm1', channel: group, content: 'text', metadata: { mood: 'fine' } };
    ben.send({ type: 'send', ...sent, ref: 'm1' });
    const { type: _, duplicate, ref, ...place } = await ben.next('accepted', { ref: 'm1' });
    expect([duplicate, ref]).toEqual([false, 'm1']);
    const [message] = await everybodyElse('message', { seq: place.seq as number });
    expect(message).toEqual({ type: 'message', offset: message?.offset, from: 'ben', ...sent, ...place });

    ben.send({ type: 'edit', client_id: 'm2', channel: group, seq: place.seq, content: 'other' });
    const edit = await ben.next('accepted', { client_id: 'm2' });
    expect(edit.seq).toBe(Number(place.seq) + 1);
    const [edited] = await everybodyElse('edited', { target: place.seq });
    expect(edited).toMatchObject({ seq: edit.seq, id: edit.id, from: 'ben', client_id: 'm2', content: 'other' });

    ben.send({ type: 'delete', client_id: 'm3', channel: group, seq: place.seq });
    const deletion = await ben.next('accepted', { client_id: 'm3' });
    const [deleted] = await everybodyElse('deleted', { target: place.seq });
    expect(deleted).toMatchObject({ seq: deletion.seq, id: deletion.id, from: 'ben', client_id: 'm3' });
  });

  it('renamed tells the title and by whom; the same title again tells nobody', async () => {
    await ask(stage, 'ann', `PATCH /v1/channels/${group}`, { body: { title: 'Team' } });
    const [renamed] = await everybody('renamed', { title: 'Team', by: 'ann' });
    const again = await ask(stage, 'ann', `PATCH /v1/channels/${group}`, { body: { title: 'Team' } });
    expect(again.body).toMatchObject({ title: 'Team', last_seq: renamed?.seq });
  });

  it('member is told before and after, and is the last that a removed one gets of the channel', async () => {
    const member = (method: string, body?: unknown) =>
      ask(stage, 'ann', `${method} /v1/channels/${group}/members/cyd`, body === undefined ? {} : { body });
    await member('PUT');
    await cyd.next('member', { action: 'added', role: 'member', user: 'cyd', by: 'ann' });
    await member('PUT', { role: 'admin' });
    await cyd.next('member', { action: 'role', role: 'admin' });
    await member('DELETE');
    const last = await cyd.next('member', { action: 'removed' });
    await everybody('member', { action: 'removed', seq: last.seq });
    ben.send({ type: 'send', client_id: 'without', channel: group, content: 'without cyd' });
    await everybodyElse('message', { client_id: 'without' });
    ben.send({ type: 'send', client_id: 'to-cyd', to: 'cyd', content: 'comes later in the same inbox' });
    await cyd.next('message', { client_id: 'to-cyd' });
    expect(cyd.frames.filter((frame) => frame.channel === group).at(-1)).toEqual(last);
  });

  it('receipt, typing and presence reach the other gateway', async () => {
    const before = phone.of('receipt').length;
    const message = await say('for the receipt');
    ben.send({ type: 'ack', offset: (await ben.next('message', { id: message.id })).offset });
    ben.send({ type: 'read', channel: 'dm:ann:ben', seq: message.seq });
    await phone.until(
      () =>
        phone
          .of('receipt')
          .slice(before)
          .find((f) => f.read === message.seq),
      'the receipt',
    );
    ben.send({ type: 'typing', channel: 'dm:ann:ben', on: true });
    expect(await phone.next('typing', { user: 'ben' })).toEqual({
      type: 'typing',
      channel: 'dm:ann:ben',
      user: 'ben',
      on: true,
    });
    phone.send({ type: 'watch', users: ['ben', 'stranger'], ref: 'w' });
    expect(await phone.next('presence', { ref: 'w', user: 'ben' })).toMatchObject({
      status: 'online',
      last_seen: expect.any(Number),
    });
    expect(await phone.next('presence', { ref: 'w', user: 'stranger' })).toMatchObject({
      status: 'offline',
      last_seen: null,
    });
  });

  it('gap says since when, what is the oldest there, and the channels’ heads', async () => {
    const future = `${Date.now() + 3_600_000}-0`;
    const ahead = await start('ben', 0, 'tablet', future);
    const gap = await ahead.next('gap', { since: future });
    const heads = gap.channels as { channel: string; last_seq: number }[];
    expect(heads.map(({ channel }) => channel)).toEqual(expect.arrayContaining(['dm:ann:ben', group]));
  });

  it('of all types that there are but goaway, each frame of this test has exactly its fields', () => {
    const seen = new Set<string>();
    for (const frame of sessions.flatMap((session) => session.frames)) {
      seen.add(frame.type);
      expectExactly(serverFrames[frame.type as keyof typeof serverFrames], frame, frame.type);
    }
    const all = Object.keys(serverFrames).filter((type) => type !== 'goaway');
    expect([...seen].sort()).toEqual(all.sort());
    for (const session of sessions) {
      const offsets = session.frames.filter((f) => 'offset' in f && f.type !== 'welcome').map((f) => String(f.offset));
      const order = (offset: string) => offset.split('-').map(Number) as [number, number];
      for (const [i, offset] of offsets.slice(1).entries()) {
        const [a, b] = [order(offsets[i]!), order(offset)];
        expect(b[0] - a[0] || b[1] - a[1]).toBeGreaterThanOrEqual(0);
      }
    }
    expect(stage.complaints()).toEqual([]);
  });
});

const everybodyElse = (type: string, fits: Partial<Frame>) =>
  Promise.all([phone, laptop].map((session) => session.next(type, { channel: group, ...fits })));

async function say(content: string) {
  phone.send({ type: 'send', client_id: content.replaceAll(' ', '-'), to: 'ben', content });
  return await phone.next('accepted', { client_id: content.replaceAll(' ', '-') });
}
