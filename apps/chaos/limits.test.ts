import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../lib/protocol/limits.ts';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

/** An empty variable is one that is not set: the defaults, as a deployment has them. */
const DEFAULTS = {
  LIMIT_SENDS_PER_S: '',
  LIMIT_BURST: '',
  LIMIT_FRAMES_PER_S: '',
  LIMIT_LARGE_GROUP_PER_S: '',
  LIMIT_NEW_CHANNELS_PER_HOUR: '',
};
const { sends_per_s: PER_S, burst: BURST } = DEFAULT_LIMITS;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(2, { env: DEFAULTS });
});
afterAll(() => stage?.clear());

const start = (user: string, gateway = 0, device = 'phone') =>
  RawSession.start(stage.deployment, stage.gateway(gateway), user, { device });

let sent = 0;
const message = (to = 'friend') => ({ type: 'send', client_id: `c${sent++}`, to, content: 'hello' });

/** Sends so many at once; returns how many were accepted, and the refusals. */
async function burst(session: RawSession, count: number, make = message) {
  const frames = Array.from({ length: count }, make);
  const ids = new Set(frames.map((frame) => frame.client_id));
  for (const frame of frames) session.send(frame);
  const answers = await session.until(() => {
    const found = session.frames.filter((f) => ids.has(String(f.client_id)) && ['accepted', 'error'].includes(f.type));
    return found.length === count && found;
  }, `${count} answers`);
  return {
    accepted: answers.filter((f) => f.type === 'accepted').length,
    refused: answers.filter((f) => f.type === 'error'),
  };
}

function post(user: string, gateway: number, body: Record<string, unknown> = message()) {
  return fetch(`${stage.gateway(gateway).address}/v1/messages`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stage.deployment.token(user)}`, 'content-type': 'application/json' },
    body: JSON.stringify({ client_id: body.client_id, to: body.to, content: body.content }),
  });
}

/** What passes at once, and what may drip in while the test itself takes its time. */
const aboutBurst = (accepted: number, startedAt: number) => {
  expect(accepted).toBeGreaterThanOrEqual(BURST);
  expect(accepted).toBeLessThanOrEqual(BURST + Math.ceil(((performance.now() - startedAt) / 1000) * PER_S));
};

describe('sends', () => {
  it('a burst passes, the rest is refused with the time to wait, which is enough; others do not notice', async () => {
    const [ann, ben] = await Promise.all([start('ann'), start('ben')]);
    const startedAt = performance.now();
    const { accepted, refused } = await burst(ann, 80);
    aboutBurst(accepted, startedAt);
    for (const error of refused) {
      expect(error).toMatchObject({ code: 'rate_limited', client_id: expect.any(String) });
      expect(error.retry_after_ms).toBeGreaterThan(0);
      expect(error.retry_after_ms).toBeLessThanOrEqual(1000 / PER_S);
    }
    expect((await burst(ben, BURST)).refused).toEqual([]);
    for (let i = 0; i < 5; i++) {
      // The time that the last answer told is that of an empty bucket only when none of the others was accepted.
      let emptied = await burst(ann, 3);
      while (emptied.accepted > 0) emptied = await burst(ann, 3);
      // What is tested is that the time which was told is right.
      await sleep(Number(emptied.refused.at(-1)?.retry_after_ms ?? 0) + 1);
      expect((await burst(ann, 1)).accepted).toBe(1);
    }
    await ann.close();
    await ben.close();
  });

  it('what was refused was not stored, and is accepted under the same client id later', async () => {
    const { channel } = await stage.call<{ channel: string }>('store-it', 'POST /v1/channels', { members: ['reader'] });
    const session = await start('store-it');
    const make = () => ({ ...message(), to: undefined, channel }) as never;
    const { accepted, refused } = await burst(session, 60, make);
    expect(refused.length).toBeGreaterThan(0);
    const info = await stage.call<{ last_seq: number }>('store-it', `GET /v1/channels/${channel}`);
    expect(info.last_seq).toBe(accepted + 1); // and `created`
    await sleep(1000 / PER_S); // in which the bucket gets one more: time is what is tested
    const client_id = String(refused[0]?.client_id);
    session.send({ type: 'send', client_id, channel, content: 'hello' });
    expect(await session.next('accepted', { client_id })).toMatchObject({ duplicate: false, seq: accepted + 2 });
    await session.close();
  });

  it('all sessions of a user and HTTP share the bucket of a gateway; another gateway has its own', async () => {
    const [phone, laptop, elsewhere] = await Promise.all([
      start('cleo'),
      start('cleo', 0, 'laptop'),
      start('cleo', 1, 'tablet'),
    ]);
    const startedAt = performance.now();
    const [one, two] = await Promise.all([burst(phone, 25), burst(laptop, 25)]);
    const http = await Promise.all(Array.from({ length: 20 }, () => post('cleo', 0)));
    aboutBurst(one.accepted + two.accepted + http.filter(({ status }) => status === 202).length, startedAt);
    expect((await burst(elsewhere, BURST)).refused).toEqual([]);
    for (const session of [phone, laptop, elsewhere]) await session.close();
  });

  it('duplicates and refused sends count too', async () => {
    const [dora, eva] = await Promise.all([start('dora'), start('eva')]);
    const startedAt = performance.now();
    dora.send({ ...message(), client_id: 'again' });
    await dora.next('accepted', { client_id: 'again' });
    for (let i = 0; i < 70; i++) dora.send({ ...message(), client_id: 'again' });
    await dora.ping('done');
    await dora.until(() => dora.of('accepted').length + dora.of('error').length === 71, 'every answer');
    aboutBurst(dora.of('accepted').length, startedAt);
    const { refused } = await burst(eva, 80, () => ({ ...message(), to: undefined, channel: 'dm:x:y' }) as never);
    const codes = refused.map(({ code }) => code);
    expect(codes.filter((code) => code === 'forbidden').length).toBeGreaterThanOrEqual(BURST);
    expect(codes).toContain('rate_limited');
    await dora.close();
    await eva.close();
  });

  it('HTTP says what is left on every send, and 429 when nothing is', async () => {
    const first = await post('fritz', 0);
    const told = (response: Response) =>
      ['limit', 'remaining', 'reset'].map((word) => Number(response.headers.get(`ratelimit-${word}`) ?? Number.NaN));
    expect(told(first)).toEqual([BURST, BURST - 1, 1]);
    const answers = await Promise.all(Array.from({ length: BURST + 20 }, () => post('fritz', 0)));
    const refused = answers.filter(({ status }) => status !== 202);
    expect(refused.length).toBeGreaterThan(0);
    for (const response of refused) {
      expect(response.status).toBe(429);
      expect(told(response)).toEqual([BURST, 0, 2]);
      expect(response.headers.get('retry-after')).toBe('1');
      const { error } = (await response.json()) as { error: { code: string; retry_after_ms: number } };
      expect(error).toMatchObject({ code: 'rate_limited', retry_after_ms: expect.any(Number) });
    }
    const other = await fetch(`${stage.gateway(0).address}/v1/conversations`, {
      headers: { authorization: `Bearer ${stage.deployment.token('fritz')}` },
    });
    expect([other.status, other.headers.get('ratelimit-limit')]).toEqual([200, null]);
    await until(
      'the bucket fills again',
      10_000,
      async () => Number((await post('fritz', 0)).headers.get('ratelimit-remaining')),
      (left) => left > 0,
    );
  });

  it('the limits that hold are those that welcome tells', async () => {
    const session = await start('gustav');
    expect(session.of('welcome')[0]?.limits).toEqual(DEFAULT_LIMITS);
    await session.close();
  });
});

describe('who does not slow down', () => {
  it('is closed 4029 at the hundredth rate_limited within ten seconds, and may come back', async () => {
    const session = await start('hasty');
    for (let i = 0; i < 400; i++) session.send(message());
    expect((await session.ended).code).toBe(4029);
    expect(session.of('error').length).toBe(100);
    const again = await start('hasty');
    await sleep(1000 / PER_S); // in which the bucket gets one more: time is what is tested
    expect((await burst(again, 1)).accepted).toBe(1);
    await again.close();
  });

  it('frames of any kind are limited per session: refused with what they answer to, then 4029', async () => {
    const [flood, calm] = await Promise.all([start('flood'), start('flood', 0, 'calm')]);
    for (let i = 0; i < 1000; i++) flood.send({ type: 'ping', ref: `p${i}` });
    expect((await flood.ended).code).toBe(4029);
    const pongs = flood.of('pong').length;
    expect(pongs).toBeGreaterThanOrEqual(400);
    expect(pongs).toBeLessThan(700);
    expect(flood.of('error')[0]).toMatchObject({ code: 'rate_limited', ref: expect.stringMatching(/^p\d+$/) });
    await calm.ping('the other session');
    await calm.close();
  });

  it('what is not acceptable costs a frame as well', async () => {
    const session = await start('scribbler');
    for (let i = 0; i < 1500; i++) session.send({ type: 'read', channel: 'nonsense', seq: 1 });
    expect((await session.ended).code).toBe(4029);
    expect(session.of('error').filter(({ code }) => code === 'bad_request').length).toBeLessThan(700);
  });
});

describe('direct channels', () => {
  it('a user begins thirty and then waits, on any gateway; those that exist go on', async () => {
    const [one, two] = await Promise.all([start('opener'), start('opener', 1, 'laptop')]);
    const peers = Array.from({ length: 34 }, (_, i) => `peer-${i}`);
    const accepted: string[] = [];
    const refused = [];
    for (const [i, peer] of peers.entries()) {
      const answer = await burst(i % 2 === 0 ? one : two, 1, () => message(peer));
      if (answer.accepted === 1) accepted.push(peer);
      refused.push(...answer.refused);
    }
    expect(accepted).toEqual(peers.slice(0, 30));
    expect(refused).toHaveLength(4);
    for (const error of refused) {
      expect(error).toMatchObject({ code: 'rate_limited', client_id: expect.any(String) });
      expect(error.retry_after_ms).toBeGreaterThan(60_000);
      expect(error.retry_after_ms).toBeLessThanOrEqual(120_000);
    }
    expect(await stage.store.exists(stage.keys.channel('dm:opener:peer-33'))).toBe(0);
    expect((await burst(two, 1, () => message('peer-0'))).accepted).toBe(1);
    const http = await post('opener', 0, message('peer-31'));
    expect([http.status, Number(http.headers.get('retry-after'))]).toEqual([429, expect.any(Number)]);
    // The other one may begin the channel, and then it exists for both.
    const peer = await start('peer-31');
    expect((await burst(peer, 1, () => message('opener'))).accepted).toBe(1);
    expect((await burst(one, 1, () => message('peer-31'))).accepted).toBe(1);
    for (const session of [one, two, peer]) await session.close();
  });
});

describe('a large group', () => {
  it('takes fifty messages a second over a gateway, from all its members together; a smaller one takes all', async () => {
    const members = Array.from({ length: 101 }, (_, i) => `m-${i}`);
    const create = (list: string[]) =>
      stage.call<{ channel: string }>(list[0]!, 'POST /v1/channels', { members: list.slice(1) });
    const [large, small] = await Promise.all([create(members), create(members.slice(0, 100))]);
    const senders = await Promise.all(members.slice(0, 6).map((user) => start(user)));
    const into = (channel: string, each: number) =>
      Promise.all(senders.map((s) => burst(s, each, () => ({ ...message(), to: undefined, channel }) as never)));
    const answers = (await Promise.all([into(large.channel, 20), into(small.channel, 20)])) as Awaited<
      ReturnType<typeof burst>
    >[][];
    const count = (list: Awaited<ReturnType<typeof burst>>[]) => list.reduce((sum, { accepted }) => sum + accepted, 0);
    expect(count(answers[1]!)).toBe(120);
    // Until the store has said how large it is, messages pass: the first ones of a gateway.
    expect(count(answers[0]!)).toBeLessThan(120);
    const { refused } = answers[0]!.find((a) => a.refused.length > 0)!;
    expect(refused[0]).toMatchObject({ code: 'rate_limited', retry_after_ms: expect.any(Number) });
    await sleep(1_100); // in which the bucket is filled: time is what is tested
    const before = performance.now();
    const later = count(await into(large.channel, 15));
    expect(later).toBeGreaterThanOrEqual(50);
    expect(later).toBeLessThanOrEqual(50 + Math.ceil(((performance.now() - before) / 1000) * 50));
    for (const session of senders) await session.close();
  });
});

describe('sessions', () => {
  it('eight at once per user over all gateways: the ninth hello is refused with 4009, until one is gone', async () => {
    const eight = await Promise.all(Array.from({ length: 8 }, (_, i) => start('many', i, `device-${i}`)));
    for (const gateway of [0, 1]) {
      const ninth = await RawSession.open(stage.gateway(gateway));
      ninth.hello(stage.deployment.token('many'), 'device-8');
      expect((await ninth.ended).code).toBe(4009);
      expect(ninth.of('welcome')).toEqual([]);
    }
    // A device that is among the eight replaces itself.
    const again = await start('many', 1, 'device-0');
    expect((await eight[0]!.ended).code).toBe(4003);
    await eight[1]!.close();
    await until(
      'a place is free',
      5_000,
      async () => stage.store.hlen(stage.keys.sessions('many')),
      (n) => n === 7,
    );
    const ninth = await start('many', 0, 'device-8');
    for (const session of [...eight.slice(2), again, ninth]) await session.close();
  });
});
