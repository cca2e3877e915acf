import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set();
});
afterAll(() => stage?.clear());

const start = (user: string, device: string, gateway: number, since?: string) =>
  RawSession.start(stage.deployment, stage.gateway(gateway), user, { device, ...(since ? { since } : {}) });

interface Conversations {
  conversations: { channel: string; unread: number; read_seq: number; last_seq: number }[];
  unread_total: number;
}

/** Acks are stored a tenth of a second together: whoever resumes before that gets a little more. */
const acked = (user: string, device: string, offset: unknown) =>
  until(
    `${device}'s ack to be stored`,
    5_000,
    () => stage.store.hget(stage.keys.devices(user), `device:${device}`),
    (record) => record?.split(' ')[0] === offset,
  );

let count = 0;
async function say(session: RawSession, to: string, content: string) {
  const client_id = `c${count++}`;
  session.send({ type: 'send', client_id, to, content });
  return await session.next('accepted', { client_id });
}

describe('several devices of a user', () => {
  it('each get a message once, whichever gateway they are on', async () => {
    const phone = await start('dora', 'phone', 0);
    const laptop = await start('dora', 'laptop', 1);
    const eve = await start('eve', 'phone', 1);
    const { id } = await say(eve, 'dora', 'to both');
    const [one, other] = await Promise.all([phone.next('message', { id }), laptop.next('message', { id })]);
    expect(one).toEqual(other);
    await Promise.all([phone, laptop].map((s) => s.ping('after')));
    expect(phone.of('message')).toHaveLength(1);
    expect(laptop.of('message')).toHaveLength(1);
    await Promise.all([phone, laptop, eve].map((s) => s.close()));
  });

  it('a sender with one device gets no copy of what it sent; with another, both get it once', async () => {
    const phone = await start('finn', 'phone', 0);
    const gus = await start('gus', 'phone', 1);
    const alone = await say(phone, 'gus', 'alone');
    await gus.next('message', { id: alone.id });
    // What comes after it in the same inbox proves that it is not still on its way.
    const back = await say(gus, 'finn', 'back');
    await phone.next('message', { id: back.id });
    expect(phone.of('message').map((m) => m.id)).toEqual([back.id]);

    const laptop = await start('finn', 'laptop', 1);
    const both = await say(phone, 'gus', 'with two');
    await Promise.all([phone.next('message', { id: both.id }), laptop.next('message', { id: both.id })]);
    const again = await say(gus, 'finn', 'back again');
    await Promise.all([phone.next('message', { id: again.id }), laptop.next('message', { id: again.id })]);
    expect(laptop.of('message').map((m) => m.id)).toEqual([both.id, again.id]);
    expect(phone.of('message').map((m) => m.id)).toEqual([back.id, both.id, again.id]);
    await Promise.all([phone, laptop, gus].map((s) => s.close()));
  });

  it('what a user sends over HTTP comes to all their devices', async () => {
    const phone = await start('hana', 'phone', 0);
    const laptop = await start('hana', 'laptop', 1);
    const sent = await stage.call<{ id: string }>('hana', 'POST /v1/messages', {
      to: 'ivo',
      client_id: 'http-1',
      content: 'from a script',
    });
    await Promise.all([phone.next('message', { id: sent.id }), laptop.next('message', { id: sent.id })]);
    await Promise.all([phone.close(), laptop.close()]);
  });

  it('a read on one device is told the others, not the reader, and unread is 0 everywhere', async () => {
    const phone = await start('jana', 'phone', 0);
    const laptop = await start('jana', 'laptop', 1);
    const kai = await start('kai', 'phone', 0);
    for (let i = 0; i < 3; i++) await say(kai, 'jana', `unread ${i}`);
    await Promise.all([phone.next('message', { seq: 3 }), laptop.next('message', { seq: 3 })]);
    const before = await stage.call<Conversations>('jana', 'GET /v1/conversations', undefined, 1);
    expect(before).toMatchObject({ unread_total: 3, conversations: [{ channel: 'dm:jana:kai', unread: 3 }] });

    phone.send({ type: 'read', channel: 'dm:jana:kai', seq: 3 });
    const told = await laptop.next('receipt', { channel: 'dm:jana:kai', user: 'jana', read: 3 });
    expect(told).toMatchObject({ delivered: 3, offset: expect.stringMatching(/^\d+-\d+$/), ts: expect.any(Number) });
    const after = await stage.call<Conversations>('jana', 'GET /v1/conversations', undefined, 1);
    expect(after).toMatchObject({ unread_total: 0, conversations: [{ unread: 0, read_seq: 3 }] });

    // Monotonic and clamped: an older one and one far ahead change nothing, and neither is an error.
    phone.send({ type: 'read', channel: 'dm:jana:kai', seq: 1, ref: 'older' });
    phone.send({ type: 'read', channel: 'dm:jana:kai', seq: Number.MAX_SAFE_INTEGER, ref: 'ahead' });
    const last = await say(kai, 'jana', 'one more');
    await Promise.all([phone, laptop].map((s) => s.next('message', { id: last.id })));
    expect(laptop.of('receipt')).toHaveLength(1);
    expect(phone.of('receipt')).toEqual([]);
    expect(phone.of('error')).toEqual([]);
    expect(await stage.call<Conversations>('jana', 'GET /v1/conversations')).toMatchObject({ unread_total: 1 });
    await Promise.all([phone, laptop, kai].map((s) => s.close()));
  });

  it('a read of somebody else’s channel is refused', async () => {
    const mallory = await start('mallory', 'phone', 0);
    mallory.send({ type: 'read', channel: 'dm:jana:kai', seq: 3, ref: 'dm' });
    mallory.send({ type: 'read', channel: 'g:nothing', seq: 3, ref: 'g' });
    expect(await mallory.next('error', { ref: 'dm' })).toMatchObject({ code: 'forbidden' });
    expect(await mallory.next('error', { ref: 'g' })).toMatchObject({ code: 'not_found' });
    await mallory.close();
  });
});

describe('hello', () => {
  it('a device’s first is not resumed and starts at the inbox’s end; the next is resumed where it acked', async () => {
    const phone = await start('lea', 'phone', 0);
    expect(phone.frames[0]).toMatchObject({ type: 'welcome', user: 'lea', device: 'phone', resumed: false });
    const mo = await start('mo', 'phone', 1);
    const first = await say(mo, 'lea', 'one');
    const second = await say(mo, 'lea', 'two');
    await phone.next('message', { id: second.id });

    const tablet = await start('lea', 'tablet', 1);
    expect(tablet.frames[0]).toMatchObject({ type: 'welcome', resumed: false, offset: phone.frames.at(-1)?.offset });
    expect(tablet.of('message')).toEqual([]);
    await tablet.close();

    const one = await phone.next('message', { id: first.id });
    phone.send({ type: 'ack', offset: one.offset });
    await acked('lea', 'phone', one.offset);
    await phone.close();
    const again = await start('lea', 'phone', 1);
    expect(again.frames.map((f) => f.type)).toEqual(['welcome', 'message', 'live']);
    expect(again.frames[0]).toMatchObject({ resumed: true, offset: one.offset });
    expect(again.frames[1]).toMatchObject({ id: second.id });
    expect(again.frames[2]?.offset).toBe(again.frames[1]?.offset);
    await Promise.all([again, mo].map((s) => s.close()));
  });

  it('with since: resumes after it, also when it is older than the ack; a first hello stores it', async () => {
    const phone = await start('nora', 'phone', 0);
    const oz = await start('oz', 'phone', 1);
    for (let i = 0; i < 5; i++) await say(oz, 'nora', `m${i}`);
    await phone.next('message', { seq: 5 });
    const offsets = phone.of('message').map((m) => m.offset as string);
    const brandNew = await start('nora', 'watch', 1, offsets[1]);
    expect(brandNew.frames[0]).toMatchObject({ type: 'welcome', resumed: false, offset: offsets[1] });
    expect(brandNew.of('message').map((m) => m.seq)).toEqual([3, 4, 5]);
    await brandNew.close();
    const without = await start('nora', 'watch', 0);
    expect(without.frames[0]).toMatchObject({ resumed: true, offset: offsets[1] });
    expect(without.of('message').map((m) => m.seq)).toEqual([3, 4, 5]);
    await without.close();

    phone.send({ type: 'ack', offset: offsets[3] });
    await acked('nora', 'phone', offsets[3]);
    await phone.close();
    const back = await start('nora', 'phone', 1, offsets[1]);
    expect(back.of('gap')).toEqual([]);
    expect(back.of('message').map((m) => m.seq)).toEqual([3, 4, 5]);
    await back.close();
    // What all devices had acked is gone by now: resumed from before it, that is a gap.
    const early = await start('nora', 'phone', 1, offsets[0]);
    expect(early.frames.map((f) => f.type)).toEqual(['welcome', 'gap', 'message', 'message', 'message', 'live']);
    expect(early.frames[1]).toMatchObject({ since: offsets[0], oldest: offsets[2] });
    await Promise.all([early, oz].map((s) => s.close()));
  });

  it('a since from the future is the inbox’s end, with a gap', async () => {
    const first = await start('pia', 'phone', 0);
    const quin = await start('quin', 'phone', 1);
    await say(quin, 'pia', 'there');
    const there = await first.next('message');
    await first.close();
    const future = `${Date.now() + 3_600_000}-0`;
    const back = await start('pia', 'phone', 1, future);
    expect(back.frames.map((f) => f.type)).toEqual(['welcome', 'gap', 'live']);
    expect(back.frames[0]).toMatchObject({ offset: there.offset, resumed: true });
    expect(back.frames[1]).toMatchObject({ since: future, channels: [{ channel: 'dm:pia:quin', last_seq: 1 }] });
    const more = await say(quin, 'pia', 'still delivered');
    await back.next('message', { id: more.id });
    await Promise.all([back, quin].map((s) => s.close()));
  });

  it('a device whose ack lies behind another’s lost tail is told so, and comes up', async () => {
    const phone = await start('rob', 'phone', 0);
    await phone.close();
    // As after a failover that took the inbox's tail: what the laptop had is ahead of what is there now.
    const ahead = `${Date.now() - 1}-5`;
    const laptop = await start('rob', 'laptop', 0, ahead);
    expect(laptop.of('gap')).toHaveLength(1);
    const again = await start('rob', 'phone', 0);
    expect(again.of('live')).toHaveLength(1);
    const sue = await start('sue', 'phone', 1);
    const sent = await say(sue, 'rob', 'for both');
    await Promise.all([again, laptop].map((s) => s.next('message', { id: sent.id })));
    await Promise.all([again, laptop, sue].map((s) => s.close()));
  });
});

describe('ack', () => {
  it('an older one is ignored, one not yet sent is refused, welcome’s and live’s count as sent', async () => {
    const phone = await start('tess', 'phone', 0);
    const uwe = await start('uwe', 'phone', 1);
    phone.send({ type: 'ack', offset: phone.frames[0]?.offset, ref: 'welcome' });
    for (let i = 0; i < 3; i++) await say(uwe, 'tess', `m${i}`);
    await phone.next('message', { seq: 3 });
    const offsets = phone.of('message').map((m) => m.offset as string);
    phone.send({ type: 'ack', offset: offsets[2] });
    phone.send({ type: 'ack', offset: offsets[0], ref: 'older' });
    const [ms] = (offsets[2] ?? '').split('-');
    phone.send({ type: 'ack', offset: `${ms}-999999`, ref: 'ahead' });
    expect(await phone.next('error', { ref: 'ahead' })).toMatchObject({ code: 'bad_request' });
    expect(phone.of('error')).toHaveLength(1);
    await acked('tess', 'phone', offsets[2]);
    await phone.close();
    const again = await start('tess', 'phone', 1);
    expect(again.frames[0]).toMatchObject({ offset: offsets[2] });
    expect(again.of('message')).toEqual([]);
    await Promise.all([again, uwe].map((s) => s.close()));
  });

  it('nothing that was not acked is lost when a device ends without a word', async () => {
    const phone = await start('vera', 'phone', 0);
    const will = await start('will', 'phone', 1);
    for (let i = 0; i < 40; i++) await say(will, 'vera', `m${i}`);
    await phone.next('message', { seq: 40 });
    phone.socket.terminate();
    const again = await start('vera', 'phone', 1);
    expect(again.of('message').map((m) => m.seq)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
    await Promise.all([again, will].map((s) => s.close()));
  });
});
