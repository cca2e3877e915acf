/** What a device missed: replayed in order as far as the inbox holds it, told as a gap beyond, and then in history. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GapEvent, MemoryStorage, type Message, MillraceClient } from '../../lib/client/index.ts';
import { INBOX_ENTRIES } from '../../lib/redis/verbs.ts';
import { until } from '../../ops/until.ts';
import { pump } from './pump.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

/** CHAOS=full: the group of 500 gets all the 5,000 messages that a member is offline through. */
const GROUP_MESSAGES = process.env.CHAOS === 'full' ? 5_000 : 800;
const DAY_MS = 24 * 3600_000;

let stage: Stage;
let writers: RawSession[];
beforeAll(async () => {
  stage = await Stage.set();
  writers = await Promise.all(
    ['w0', 'w1', 'w2', 'w3', 'w4'].map((user, i) => RawSession.start(stage.deployment, stage.gateway(i), user)),
  );
});
afterAll(() => stage?.clear());

const start = (user: string, gateway = 0, options: { device?: string; since?: string } = {}) =>
  RawSession.start(stage.deployment, stage.gateway(gateway), user, options);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const held = (user: string) => stage.store.xlen(stage.keys.inbox(user));

/** Until the inbox or, without one, the conversation list knows of the channel's last message. */
async function fannedOut(user: string, channel: string, seq: number): Promise<void> {
  await until(
    `${user} to have ${channel} ${seq}`,
    120_000,
    () => stage.store.hget(stage.keys.conversations(user), channel),
    (mark) => Number(mark?.split(' ')[0]) >= seq,
  );
}

async function metric(gateway: number, name: string): Promise<number> {
  const text = await (await fetch(`${stage.gateway(gateway).address}/metrics`)).text();
  const values = text
    .split('\n')
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name.replace(/}$/, '')}`));
  if (values.length === 0) throw new Error(`no metric ${name}`);
  return values.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

describe('a device that was away', () => {
  it('for 450 messages of five channels gets all of them in order, on another gateway', async () => {
    await (await start('ann')).close();
    await pump(writers, { to: 'ann' }, 450, (i) => `missed ${i}`);
    for (let i = 0; i < 5; i++) await fannedOut('ann', `dm:ann:w${i}`, 90);
    const back = await start('ann', 1);
    expect([back.frames[0]?.type, back.frames.at(-1)?.type]).toEqual(['welcome', 'live']);
    expect(back.of('gap')).toEqual([]);
    expect(back.of('message')).toHaveLength(450);
    for (let i = 0; i < 5; i++) {
      const seqs = back.of('message').filter((m) => m.channel === `dm:ann:w${i}`);
      expect(seqs.map((m) => m.seq)).toEqual(range(1, 90));
    }
    const offsets = back.of('message').map((m) => m.offset as string);
    expect(new Set(offsets).size).toBe(450);
    expect(offsets).toEqual([...offsets].sort(byOffset));
    await back.close();
  });

  it('resumes anywhere in them, again and again, while more comes', async () => {
    await (await start('bea')).close();
    const pumping = pump(writers, { to: 'bea' }, 400, (i) => `${i}`);
    const seen = new Map<string, number[]>();
    let since: string | undefined;
    for (let round = 0; round < 12; round++) {
      const session = await start('bea', round, since ? { since } : {});
      // Cut in the middle of what comes: only what was received counts.
      const target = session.of('message').length + 10;
      await session.until(() => session.of('message').length >= target, 'more', 300).catch(() => undefined);
      session.socket.terminate();
      for (const { channel, seq, offset } of session.of('message')) {
        seen.set(channel as string, [...(seen.get(channel as string) ?? []), seq as number]);
        since = offset as string;
      }
      expect(session.of('gap')).toEqual([]);
    }
    await pumping;
    for (let i = 0; i < 5; i++) await fannedOut('bea', `dm:bea:w${i}`, 80);
    const last = await start('bea', 0, since ? { since } : {});
    for (const { channel, seq } of last.of('message'))
      seen.set(channel as string, [...(seen.get(channel as string) ?? []), seq as number]);
    for (let i = 0; i < 5; i++) expect(seen.get(`dm:bea:w${i}`)).toEqual(range(1, 80));
    await last.close();
  });

  it(`for 5,000, ten times what an inbox holds: a gap, and the client library shows all of them once, in order`, async () => {
    const storage = new MemoryStorage();
    const shown: Message[] = [];
    const gaps: GapEvent[] = [];
    const client = (gateway: number) => {
      const made = new MillraceClient({
        url: stage.gateway(gateway).address,
        token: stage.deployment.token('cleo'),
        device: 'phone',
        storage,
        unknownFill: 5_000,
      });
      made.on('message', (message) => void shown.push(message));
      made.on('gap', (gap) => void gaps.push(gap));
      return made;
    };
    const before = client(0);
    await before.connect();
    await pump(writers.slice(0, 1), { to: 'cleo' }, 10, (i) => `seen ${i}`);
    await until('the first ten', 10_000, () => shown.length === 10);
    await before.close();
    await pump(writers, { to: 'cleo' }, 5_000, (i) => `missed ${i}`);
    for (let i = 0; i < 5; i++) await fannedOut('cleo', `dm:cleo:w${i}`, i === 0 ? 1_010 : 1_000);
    expect(await held('cleo')).toBe(INBOX_ENTRIES);

    const raw = await start('cleo', 1, { device: 'other', since: storage.load().offset! });
    expect(raw.frames.slice(0, 2).map((f) => f.type)).toEqual(['welcome', 'gap']);
    expect(raw.frames[1]).toMatchObject({ oldest: raw.frames[2]?.offset });
    expect(raw.frames[1]?.channels).toContainEqual({ channel: 'dm:cleo:w0', last_seq: 1_010 });
    expect(raw.of('message')).toHaveLength(INBOX_ENTRIES);
    await raw.close();

    const after = client(1);
    await after.connect();
    await until('everything', 60_000, () => shown.length >= 5_010);
    await after.close();
    expect(gaps.length).toBeGreaterThan(0);
    expect(new Set(shown.map((m) => m.id)).size).toBe(5_010);
    expect(shown).toHaveLength(5_010);
    for (let i = 0; i < 5; i++) {
      const seqs = shown.filter((m) => m.channel === `dm:cleo:w${i}`).map((m) => m.seq);
      expect(seqs).toEqual(range(1, i === 0 ? 1_010 : 1_000));
    }
  }, 120_000);

  it('is not buffered in the gateway: a replay waits while the socket is full', async () => {
    await (await start('dan')).close();
    // Six bytes each on the wire: more than what the kernel's buffers take from the gateway.
    const content = '\u0000'.repeat(8_192);
    for (let i = 0; i < 450; i += 15) {
      const send = (k: number) =>
        stage.call(`h${k % 5}`, 'POST /v1/messages', { to: 'dan', client_id: `dan-${k}`, content }, k);
      await Promise.all(range(i, i + 14).map(send));
    }
    for (let i = 0; i < 5; i++) await fannedOut('dan', `dm:dan:h${i}`, 90);
    const session = await RawSession.open(stage.gateway(0));
    session.hello(stage.deployment.token('dan'));
    session.socket.pause();
    await until(
      'the session to be paused',
      10_000,
      () => metric(0, 'millrace_sessions_paused'),
      (n) => n === 1,
    );
    const reads = await metric(0, 'millrace_inbox_reads_total{cause="replay"}');
    expect(await held('dan')).toBe(450);
    session.socket.resume();
    await session.next('live', {}, 30_000);
    expect(await metric(0, 'millrace_inbox_reads_total{cause="replay"}')).toBeGreaterThan(reads + 5);
    for (let i = 0; i < 5; i++) {
      const seqs = session.of('message').filter((m) => m.channel === `dm:dan:h${i}`);
      expect(seqs.map((m) => m.seq)).toEqual(range(1, 90));
    }
    expect(session.of('gap')).toEqual([]);
    expect(await metric(0, 'millrace_sessions_paused')).toBe(0);
    await session.close();
  });
});

describe('a group of 500', () => {
  it(`members offline through ${GROUP_MESSAGES} messages, never acking, or dormant: bounded inboxes, no silent gap`, async () => {
    await (await start('offline')).close();
    const deaf = await start('never-acks', 1);
    await (await start('dormant')).close();
    // The end of a session is a time at which its device was seen.
    await until(
      'the dormant one is detached',
      10_000,
      () => stage.store.hlen(stage.keys.sessions('dormant')),
      (n) => n === 0,
    );
    const longAgo = String(Date.now() - 8 * DAY_MS);
    const devices = stage.keys.devices('dormant');
    const record = await stage.store.hget(devices, 'device:phone');
    await stage.store.hset(devices, 'seen', longAgo, 'device:phone', `${record?.split(' ')[0]} ${longAgo}`);

    const others = range(1, 492).map((i) => `member-${i}`);
    const members = [...others, 'offline', 'never-acks', 'dormant', 'w1', 'w2', 'w3', 'w4'];
    const { channel } = await stage.call<{ channel: string }>('w0', 'POST /v1/channels', { title: '500', members });
    await pump(writers, { channel }, GROUP_MESSAGES, (i) => `to all ${i}`);
    const last = GROUP_MESSAGES + 1;
    for (const user of ['offline', 'never-acks', 'dormant', 'member-1']) await fannedOut(user, channel, last);

    await deaf.next('message', { seq: last }, 60_000);
    expect(deaf.of('message').map((m) => m.seq)).toEqual(range(2, last));
    expect(await held('offline')).toBe(INBOX_ENTRIES);
    expect(await held('never-acks')).toBe(INBOX_ENTRIES);
    expect(await held('dormant')).toBe(0);
    expect(await stage.store.exists(stage.keys.inbox('member-1'))).toBe(0);
    await deaf.close();

    for (const [user, replayed] of [
      ['offline', INBOX_ENTRIES],
      ['never-acks', INBOX_ENTRIES],
      ['dormant', 0],
    ] as const) {
      const back = await start(user, 1);
      expect([user, ...back.frames.slice(0, 2).map((f) => f.type)]).toEqual([user, 'welcome', 'gap']);
      expect(back.frames[1]?.channels).toContainEqual({ channel, last_seq: last });
      expect(back.of('message').map((m) => m.seq)).toEqual(range(last - replayed + 1, last));
      await back.close();
    }
    // Nobody ever connected with it: a first hello starts at the end, and history has the rest.
    const fresh = await start('member-1');
    expect(fresh.frames.map((f) => f.type)).toEqual(['welcome', 'live']);
    await fresh.close();
    expect(stage.complaints()).toEqual([]);
  }, 240_000);
});

function byOffset(a: string, b: string): number {
  const [am = 0, an = 0] = a.split('-').map(Number);
  const [bm = 0, bn = 0] = b.split('-').map(Number);
  return am - bm || an - bn;
}
