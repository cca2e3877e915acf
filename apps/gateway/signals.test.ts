/** Presence and typing on one gateway, over the wire. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { directChannel } from '../../lib/protocol/ids.ts';
import { until } from '../../ops/until.ts';
import type { Hub } from './hub.ts';
import { type Api, startApi } from './routes/testing.ts';
import { PAUSE_ABOVE_BYTES } from './session.ts';
import { type Frame, openSocket, sessionOf, startGateway } from './testing.ts';

const RECHECK_MS = 300;

let api: Api;
let hub: Hub;
let gateway: Awaited<ReturnType<typeof startGateway>>;
let url: string;
const open: WebSocket[] = [];
let names = 0;
/** Another user each time: tests do not meet. */
const somebody = (name: string) => `${name}-${++names}`;

beforeAll(async () => {
  api = await startApi();
  gateway = await startGateway(api.ctx, { recheckMs: RECHECK_MS });
  ({ hub, url } = gateway);
});
afterEach(() => {
  for (const socket of open.splice(0)) socket.terminate();
});
afterAll(async () => {
  await gateway?.stop();
  await api?.stop();
});

async function connect(user: string, device = 'phone', to = url) {
  const opened = await openSocket(api, to, user);
  const { socket, frames, send } = opened;
  open.push(socket);
  const next = (type: string, fits: Record<string, unknown> = {}, at = 0) =>
    until(`${user} gets ${type} ${JSON.stringify(fits)}`, 5000, () =>
      frames.slice(at).find((f) => f.type === type && Object.entries(fits).every(([k, v]) => f[k] === v)),
    ) as Promise<Frame>;
  send({ type: 'hello', device });
  await next('live');
  /** Everything sent before has been handled, and what it caused here has arrived. */
  const settled = async () => {
    const ref = `settled-${++names}`;
    send({ type: 'ping', ref });
    await next('pong', { ref });
  };
  return { ...opened, next, settled };
}

/** As the presence scripts do it: the hash, and the word on the channel of its name. */
async function become(user: string, status: 'online' | 'offline', since: number): Promise<void> {
  const { command } = api.ctx.store;
  const key = api.ctx.keys.presence(user);
  await command.hset(key, 'status', status, 'since', since);
  await command.spublish(key, `${status} ${since}`);
}

/** The two have a direct channel. */
async function acquaint(a: string, b: string): Promise<void> {
  for (const user of [a, b]) {
    await api.ctx.store.command.hset(api.ctx.keys.conversations(user), directChannel(a, b), '1 1000 0 1');
  }
}

describe('watch', () => {
  it('is answered at once with one presence per user, with the ref; then each change is pushed, once', async () => {
    const [alice, bob, carol] = [somebody('alice'), somebody('bob'), somebody('carol')];
    await acquaint(alice, bob);
    await acquaint(alice, carol);
    await become(bob, 'online', 5000);
    const watcher = await connect(alice);
    watcher.send({ type: 'watch', users: [bob, carol, bob], ref: 'w' });
    await watcher.next('presence', { user: carol });
    expect(watcher.of('presence')).toEqual([
      { type: 'presence', user: bob, status: 'online', last_seen: 5000, ref: 'w' },
      { type: 'presence', user: carol, status: 'offline', last_seen: null, ref: 'w' },
    ]);
    await become(bob, 'offline', 6000);
    expect(await watcher.next('presence', { user: bob, status: 'offline' })).toEqual({
      type: 'presence',
      user: bob,
      status: 'offline',
      last_seen: 6000,
    });
    await become(bob, 'offline', 6000);
    await become(carol, 'online', 7000);
    await watcher.next('presence', { user: carol, status: 'online' });
    expect(watcher.of('presence')).toHaveLength(4);
  });

  it('takes 500 users in a session, and nothing of a frame that goes beyond', async () => {
    const [alice, bob, carol] = [somebody('alice'), somebody('bob'), somebody('carol')];
    await acquaint(alice, bob);
    await acquaint(alice, carol);
    const watcher = await connect(alice);
    const many = Array.from({ length: 499 }, (_, i) => `u${i}`);
    watcher.send({ type: 'watch', users: [...many, bob] });
    await until('500 answers', 5000, () => watcher.of('presence').length === 500);
    watcher.send({ type: 'watch', users: [bob, carol], ref: 'one too many' });
    expect(await watcher.next('error', { ref: 'one too many' })).toMatchObject({ code: 'bad_request' });
    await become(carol, 'online', 1);
    await become(bob, 'online', 1);
    await watcher.next('presence', { user: bob, status: 'online' });
    expect(watcher.of('presence').filter(({ user }) => user === carol)).toEqual([]);
    // Those that are watched already do not count again; unwatching makes room.
    watcher.send({ type: 'watch', users: [bob], ref: 'again' });
    await watcher.next('presence', { ref: 'again', status: 'online' });
    watcher.send({ type: 'unwatch', users: ['u0', 'never.watched'] });
    watcher.send({ type: 'watch', users: [carol], ref: 'room' });
    await watcher.next('presence', { ref: 'room', user: carol, status: 'online' });
  });

  it('shows those with whom one shares a group, and nobody else', async () => {
    const [alice, member, former, stranger] = ['alice', 'member', 'former', 'stranger'].map(somebody) as [
      string,
      string,
      string,
      string,
    ];
    const group = somebody('g:club');
    const mark = (user: string, value: string) =>
      api.ctx.store.command.hset(api.ctx.keys.conversations(user), group, value);
    await Promise.all([mark(alice, '3 1000 0 3'), mark(member, '3 1000 0 3'), mark(former, '2 1000 0 2 left')]);
    for (const user of [alice, member, former, stranger]) await become(user, 'online', 9);
    const watcher = await connect(alice);
    watcher.send({ type: 'watch', users: [member, former, stranger, alice] });
    await watcher.next('presence', { user: alice, status: 'online', last_seen: 9 });
    expect(watcher.of('presence').map(({ user, status, last_seen }) => [user, status, last_seen])).toEqual([
      [member, 'online', 9],
      [former, 'offline', null],
      [stranger, 'offline', null],
      [alice, 'online', 9],
    ]);
    // Pulled, it is the same.
    const answer = await api.as(alice)(`GET /v1/presence?users=${[stranger, member, member].join(',')}`);
    expect(answer).toMatchObject({
      status: 200,
      body: {
        presence: [
          { user: stranger, status: 'offline', last_seen: null },
          { user: member, status: 'online', last_seen: 9 },
        ],
      },
    });
  });

  it('is looked at again: who leaves or blocks is offline from then on, and an acquaintance is shown', async () => {
    const [alice, bob, blocker, blocked] = ['alice', 'bob', 'blocker', 'blocked'].map(somebody) as [
      string,
      string,
      string,
      string,
    ];
    await acquaint(alice, blocker);
    await acquaint(alice, blocked);
    for (const user of [bob, blocker, blocked]) await become(user, 'online', 9);
    const watcher = await connect(alice);
    watcher.send({ type: 'watch', users: [bob, blocker, blocked] });
    await watcher.next('presence', { user: blocked, status: 'online' });
    const block = (by: string, whom: string) =>
      api.ctx.store.command.hset(api.ctx.keys.channel(directChannel(by, whom)), `blocked:${by}`, '1');
    await block(blocker, alice);
    await block(alice, blocked);
    await acquaint(alice, bob);
    await watcher.next('presence', { user: bob, status: 'online', last_seen: 9 });
    await watcher.next('presence', { user: blocker, status: 'offline', last_seen: null });
    await watcher.next('presence', { user: blocked, status: 'offline', last_seen: null });
    const before = watcher.frames.length;
    await become(blocker, 'offline', 10);
    await become(bob, 'offline', 11);
    await watcher.next('presence', { user: bob, last_seen: 11 }, before);
    expect(watcher.frames.slice(before)).toHaveLength(1);
    const answer = await api.as(blocked)(`GET /v1/presence?users=${alice}`);
    expect(answer.body).toEqual({ presence: [{ user: alice, status: 'offline', last_seen: null }] });
  });

  it('a block made while a look is on its way counts: the older answer does not win', async () => {
    const [alice, bob] = [somebody('alice'), somebody('bob')];
    await acquaint(alice, bob);
    await become(bob, 'online', 9);
    // Its own round of looks is a minute away: the first question about the two is the watch's.
    const patient = await startGateway({ ...api.ctx, incarnation: 'patient' });
    const watcher = await connect(alice, 'phone', patient.url);
    // The answer to it is held: it says that there is no block.
    const { command } = api.ctx.store;
    const real = command.hmget;
    const held = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    const channel = api.ctx.keys.channel(directChannel(alice, bob));
    command.hmget = (async (...args: Parameters<typeof real>) => {
      const answer = await Reflect.apply(real, command, args);
      if (args[0] === channel && command.hmget !== real) {
        command.hmget = real;
        asked.resolve();
        await held.promise;
      }
      return answer;
    }) as typeof real;
    try {
      watcher.send({ type: 'watch', users: [bob], ref: 'w' });
      await asked.promise;
      await api.as(bob)(`PUT /v1/blocks/${alice}`);
      const session = sessionOf(patient.hub, alice, 'phone')!;
      await until('looked at', 5000, () => (session?.watching?.get(bob)?.asOf ?? 0) > 0);
    } finally {
      held.resolve();
    }
    expect(await watcher.next('presence', { ref: 'w' })).toMatchObject({ status: 'offline', last_seen: null });
    await patient.stop();
  });

  it('ends with unwatch and with the session, and an idle session holds nothing', async () => {
    const [alice, bob] = [somebody('alice'), somebody('bob')];
    await acquaint(alice, bob);
    const [watcher, other] = [await connect(alice), await connect(alice, 'laptop')];
    for (const one of [watcher, other]) {
      one.send({ type: 'watch', users: [bob] });
      await one.next('presence', { user: bob });
    }
    const channel = api.ctx.keys.presence(bob);
    const subscribers = async () => (await api.ctx.store.command.pubsub('SHARDNUMSUB', channel))[1];
    expect(await subscribers()).toBe(1);
    watcher.send({ type: 'unwatch', users: [bob] });
    await watcher.settled();
    await become(bob, 'online', 3);
    await other.next('presence', { user: bob, status: 'online' });
    expect(watcher.of('presence')).toHaveLength(1);
    expect(sessionOf(hub, alice, 'phone')).toMatchObject({ watching: undefined, untold: undefined, typed: undefined });
    other.socket.terminate();
    await until('nobody listens', 5000, subscribers, (n) => n === 0);
    await until(
      'nobody is watched',
      5000,
      () => api.ctx.metrics.watchedUsers.value,
      (n) => n === 0,
    );
  });

  it('tells a client that did not read its socket the latest state, once it does', async () => {
    const [alice, bob] = [somebody('alice'), somebody('bob')];
    await acquaint(alice, bob);
    const watcher = await connect(alice);
    watcher.send({ type: 'watch', users: [bob] });
    await watcher.next('presence', { user: bob });
    const session = sessionOf(hub, alice, 'phone')!;
    watcher.socket.pause();
    await until('the socket is full', 10_000, () => {
      session?.sendText(JSON.stringify({ type: 'filler', text: 'x'.repeat(60_000) }));
      return (session?.raw.writableLength ?? 0) > 2 * PAUSE_ABOVE_BYTES;
    });
    for (let since = 1; since <= 20; since++) await become(bob, since % 2 ? 'online' : 'offline', since);
    await until('all of them were heard', 5000, () => session?.untold?.has(bob) === true);
    watcher.socket.resume();
    await watcher.next('presence', { user: bob, status: 'offline', last_seen: 20 });
    expect(watcher.of('presence').length).toBeLessThan(5);
    expect(session?.untold).toBe(undefined);
  });
});

describe('typing', () => {
  it('reaches the other live sessions of a direct channel, not one’s own, and the same state only once', async () => {
    const [alice, bob] = [somebody('alice'), somebody('bob')];
    const channel = directChannel(alice, bob);
    const writer = await connect(alice);
    const [own, phone, laptop] = [await connect(alice, 'laptop'), await connect(bob), await connect(bob, 'laptop')];
    for (let i = 0; i < 5; i++) writer.send({ type: 'typing', channel, on: true });
    for (const reader of [phone, laptop]) {
      expect(await reader.next('typing')).toEqual({ type: 'typing', channel, user: alice, on: true });
    }
    writer.send({ type: 'typing', channel, on: false });
    for (const reader of [phone, laptop]) await reader.next('typing', { on: false });
    await Promise.all([writer, own].map((one) => one.settled()));
    expect([writer, own, phone, laptop].map((one) => one.of('typing').length)).toEqual([0, 0, 2, 2]);
  });

  it('is news again after a message, which has ended it', async () => {
    const [alice, bob] = [somebody('alice'), somebody('bob')];
    const channel = directChannel(alice, bob);
    const [writer, reader] = [await connect(alice), await connect(bob)];
    writer.send({ type: 'typing', channel, on: true });
    await reader.next('typing');
    writer.send({ type: 'send', client_id: 'typed', channel, content: 'what was typed' });
    await writer.next('accepted');
    writer.send({ type: 'typing', channel, on: true });
    await until('told again', 5000, () => reader.of('typing').length === 2);
  });

  it('is forbidden in others’ direct channels, and a group of others is not found', async () => {
    const [alice, bob, carol] = [somebody('alice'), somebody('bob'), somebody('carol')];
    const made = await api.as(bob)('POST /v1/channels', { members: [carol] });
    const { channel } = made.body as { channel: string };
    const stranger = await connect(alice);
    stranger.send({ type: 'typing', channel: directChannel(bob, carol), on: true, ref: 'dm' });
    stranger.send({ type: 'typing', channel, on: true, ref: 'group' });
    stranger.send({ type: 'typing', channel: 'g:none', on: true, ref: 'none' });
    expect(await stranger.next('error', { ref: 'dm' })).toMatchObject({ code: 'forbidden' });
    expect(await stranger.next('error', { ref: 'group' })).toMatchObject({ code: 'not_found' });
    expect(await stranger.next('error', { ref: 'none' })).toMatchObject({ code: 'not_found' });
  });

  it('reaches the present members of a group, not those who left, and never in a large group', async () => {
    const [alice, bob, carol] = [somebody('alice'), somebody('bob'), somebody('carol')];
    const made = await api.as(alice)('POST /v1/channels', { members: [bob, carol] });
    const { channel } = made.body as { channel: string };
    await api.as(carol)(`DELETE /v1/channels/${channel}/members/${carol}`);
    const [writer, member, former] = [await connect(alice), await connect(bob), await connect(carol)];
    writer.send({ type: 'typing', channel, on: true });
    expect(await member.next('typing')).toEqual({ type: 'typing', channel, user: alice, on: true });

    const dropped = api.ctx.metrics.signalsDropped.of('large group');
    const before = dropped.value;
    await api.ctx.store.command.hset(api.ctx.keys.channel(channel), 'member_count', 33);
    writer.send({ type: 'typing', channel, on: false });
    await until('dropped', 5000, () => dropped.value === before + 1);
    await Promise.all([member, former].map((one) => one.settled()));
    expect([member, former].map((one) => one.of('typing').length)).toEqual([1, 0]);
  });

  it('of a user whom the other blocks, or who blocks the other, is dropped without a word', async () => {
    const [alice, bob] = [somebody('alice'), somebody('bob')];
    const channel = directChannel(alice, bob);
    await api.ctx.store.command.hset(api.ctx.keys.channel(channel), `blocked:${bob}`, '1');
    const [writer, reader] = [await connect(alice), await connect(bob)];
    writer.send({ type: 'typing', channel, on: true });
    reader.send({ type: 'typing', channel, on: true });
    await writer.settled();
    await reader.settled();
    // A later one that does arrive shows that the earlier ones would have.
    await api.ctx.store.command.hdel(api.ctx.keys.channel(channel), `blocked:${bob}`);
    writer.send({ type: 'typing', channel, on: false });
    reader.send({ type: 'typing', channel, on: false });
    await Promise.all([writer, reader].map((one) => one.next('typing')));
    expect(reader.of('typing')).toEqual([{ type: 'typing', channel, user: alice, on: false }]);
    expect(writer.of('typing')).toEqual([{ type: 'typing', channel, user: bob, on: false }]);
    expect(writer.of('error')).toEqual([]);
  });

  it('is the first thing dropped: what is more than five a second, and what meets a full socket', async () => {
    const [alice, bob] = [somebody('alice'), somebody('bob')];
    const channel = directChannel(alice, bob);
    const [writer, reader] = [await connect(alice), await connect(bob)];
    const dropped = (reason: string) => api.ctx.metrics.signalsDropped.of(reason).value;
    const before = dropped('rate');
    for (let i = 0; i < 40; i++) writer.send({ type: 'typing', channel, on: i % 2 === 0 });
    await writer.settled();
    expect(dropped('rate') - before).toBeGreaterThanOrEqual(15);

    const session = sessionOf(hub, bob, 'phone')!;
    reader.socket.pause();
    await until('the socket is full', 10_000, () => {
      session?.sendText(JSON.stringify({ type: 'filler', text: 'x'.repeat(60_000) }));
      return (session?.raw.writableLength ?? 0) > 2 * PAUSE_ABOVE_BYTES;
    });
    const congested = dropped('congested');
    let on = false;
    await until('typing at a full socket is dropped', 5000, () => {
      on = !on;
      writer.send({ type: 'typing', channel, on });
      return dropped('congested') > congested;
    });
    reader.socket.resume();
  });

  it('waits for a frozen store in bounded number, and the rest is dropped', async () => {
    const writers = await Promise.all(Array.from({ length: 20 }, (_, i) => connect(somebody(`writer${i}`))));
    const dropped = api.ctx.metrics.signalsDropped.of('pressure');
    const before = dropped.value;
    api.redis.kill('SIGSTOP');
    try {
      for (const { user, send } of writers) {
        for (let i = 0; i < 5; i++) send({ type: 'typing', channel: directChannel(user, `peer${i}`), on: true });
      }
      await until('what is beyond the bound is dropped', 5000, () => dropped.value - before >= 100 - 64);
    } finally {
      api.redis.kill('SIGCONT');
    }
    await Promise.all(writers.map((one) => one.settled()));
  });
});
