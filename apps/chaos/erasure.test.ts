/** A user who is erased: nothing of theirs is left, whatever dies meanwhile, and others lose nothing. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Verbs } from '../../lib/redis/verbs.ts';
import { until } from '../../ops/until.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

const MESSAGES = 10_000;

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(2);
});
afterAll(() => stage?.clear());

interface Entry {
  type: string;
  from: string;
  content?: string;
  deleted?: boolean;
  seq: number;
}
interface Page {
  messages: Entry[];
}
const start = (user: string, gateway: number) => RawSession.start(stage.deployment, stage.gateway(gateway), user);
const history = (user: string, channel: string, query = 'limit=200') =>
  stage.call<Page>(user, `GET /v1/channels/${encodeURIComponent(channel)}/messages?${query}`);

async function admin<T>(line: string): Promise<T> {
  const [method, path] = line.split(' ');
  const authorization = `Bearer ${stage.deployment.token('operator', { admin: true })}`;
  const response = await fetch(`${stage.gateway(0).address}${path}`, {
    method: method ?? '',
    headers: { authorization },
  });
  return (await response.json()) as T;
}
const erasure = (user: string) => admin<{ state: string; since: number | null }>(`GET /v1/users/${user}/erasure`);
const done = (user: string, withinMs = 20_000) =>
  until(
    `${user} is erased`,
    withinMs,
    () => erasure(user),
    ({ state }) => state === 'done',
  );

async function exported(user: string): Promise<Record<string, unknown>[]> {
  const authorization = `Bearer ${stage.deployment.token(user)}`;
  const response = await fetch(`${stage.gateway(0).address}/v1/users/${user}/export`, { headers: { authorization } });
  expect(response.status).toBe(200);
  const lines = (await response.text()).split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

let count = 0;
async function say(session: RawSession, where: { to: string } | { channel: string }, content: string) {
  const client_id = `c${count++}`;
  session.send({ type: 'send', client_id, ...where, content });
  return await session.next('accepted', { client_id });
}

/** Keys in the whole store that name the user. */
const keysOf = async (user: string) =>
  (await stage.store.keys(`*}:${user}`))
    .filter((key) => !key.startsWith('erasure:') && !key.startsWith('bucket:'))
    .sort();

describe('erasure', () => {
  it('takes contents, inbox, devices, presence, blocks and memberships, closes sessions 4001, and tells the groups', async () => {
    const [alice, tablet, bob] = await Promise.all([
      start('alice', 0),
      RawSession.start(stage.deployment, stage.gateway(1), 'alice', { device: 'tablet' }),
      start('bob', 1),
    ]);
    const group = await stage.call<{ channel: string }>('alice', 'POST /v1/channels', {
      title: 'both',
      members: ['bob'],
    });
    await say(alice, { to: 'bob' }, 'a secret of alice');
    await say(bob, { to: 'alice' }, 'what bob said');
    const edited = await say(alice, { to: 'bob' }, 'another secret');
    alice.send({ type: 'edit', client_id: 'edit', channel: 'dm:alice:bob', seq: edited.seq, content: 'edited secret' });
    await alice.next('accepted', { client_id: 'edit' });
    await say(alice, { channel: group.channel }, 'secret of the group');
    await bob.next('message', { content: 'secret of the group' });
    await stage.call('alice', 'PUT /v1/devices/phone', { platform: 'android', push_token: 'a token of alice' });
    await stage.call('alice', 'PUT /v1/blocks/carl');
    // One of them has never written to her.
    for (const other of ['dora', 'erik']) await stage.call(other, 'PUT /v1/blocks/alice');
    await stage.call('dora', 'PUT /v1/blocks/bob');

    const lines = await exported('alice');
    const texts = lines.filter(({ type }) => type === 'message' || type === 'edited').map(({ content }) => content);
    expect(texts).toEqual(expect.arrayContaining(['a secret of alice', 'edited secret', 'secret of the group']));
    expect(texts).not.toContain('what bob said');
    expect(lines.filter(({ type }) => type === 'channel').map(({ channel }) => channel)).toEqual(
      expect.arrayContaining(['dm:alice:bob', group.channel]),
    );
    // In the order of their first hellos, which came at once.
    const devices = lines.filter(({ type }) => type === 'device');
    expect(devices).toHaveLength(2);
    expect(devices).toEqual(
      expect.arrayContaining([
        { type: 'device', device: 'phone', platform: 'android', last_seen: expect.any(Number) },
        { type: 'device', device: 'tablet', last_seen: expect.any(Number) },
      ]),
    );
    expect(lines.filter(({ type }) => type === 'block')).toEqual([{ type: 'block', user: 'carl' }]);
    expect(JSON.stringify(lines)).not.toContain('a token of alice');

    expect(await erasure('alice')).toEqual({ state: 'none', since: null });
    await expect(stage.call('bob', 'DELETE /v1/users/alice')).rejects.toThrow('403');
    await expect(stage.call('bob', 'GET /v1/users/alice/export')).rejects.toThrow('403');
    await expect(stage.call('alice', 'GET /v1/users/alice/erasure')).rejects.toThrow('403');
    const begun = await stage.call('alice', 'DELETE /v1/users/alice');
    expect(begun).toEqual({ state: 'running', since: expect.any(Number) });
    expect(await stage.call('alice', 'DELETE /v1/users/alice')).toEqual(begun);
    expect((await Promise.all([alice.ended, tablet.ended])).map(({ code }) => code)).toEqual([4001, 4001]);
    await done('alice');

    await bob.next('member', { channel: group.channel, user: 'alice', action: 'removed' });
    await bob.next('member', { channel: group.channel, user: 'bob', action: 'role', role: 'owner' });
    const direct = await history('bob', 'dm:alice:bob');
    expect(direct.messages.filter((m) => m.from === 'alice').every((m) => m.content === undefined)).toBe(true);
    expect(direct.messages.filter((m) => m.type === 'message').map((m) => [m.from, m.deleted, m.content])).toEqual([
      ['alice', true, undefined],
      ['bob', undefined, 'what bob said'],
      ['alice', true, undefined],
    ]);
    const inGroup = await history('bob', group.channel);
    expect(JSON.stringify(inGroup)).not.toContain('secret');
    const list = await stage.call('bob', 'GET /v1/conversations');
    expect(JSON.stringify(list)).not.toContain('secret');
    expect(await keysOf('alice')).toEqual([]);
    // A block was meant for who is gone.
    expect(await stage.call('dora', 'GET /v1/blocks')).toEqual({ blocks: ['bob'] });
    expect(await stage.call('erik', 'GET /v1/blocks')).toEqual({ blocks: [] });
    expect(await stage.store.keys('push_token:*')).toEqual([]);
    expect(await stage.store.hkeys(stage.keys.receipts(group.channel))).not.toContain('alice');
    expect(bob.of('deleted')).toEqual([]);

    // The id may be used again, and sees nothing from before.
    const again = await start('alice', 1);
    expect(again.frames.map((f) => f.type)).toEqual(['welcome', 'live']);
    expect(again.frames[0]).toMatchObject({ resumed: false });
    expect(await stage.call('alice', 'GET /v1/conversations')).toMatchObject({ conversations: [] });
    expect((await history('alice', 'dm:alice:bob')).messages).toEqual([]);
    await say(bob, { to: 'alice' }, 'hello again');
    await again.next('message', { content: 'hello again' });
    expect((await history('alice', 'dm:alice:bob')).messages.map((m) => m.content)).toEqual(['hello again']);
    expect((await exported('alice')).filter(({ type }) => type === 'message')).toEqual([]);
    await say(again, { to: 'dora' }, 'nice to meet you');
    await Promise.all([again.close(), bob.close()]);
  });

  it(`of ${MESSAGES} messages is done within 60 s, with the archiver killed in the middle`, {
    timeout: 180_000,
  }, async () => {
    await stage.deployment.stop();
    const gateway = await stage.deployment.start('gateway');
    const fanout = await stage.deployment.start('fanout');
    // Nothing of it is in the archive when the erasure begins.
    await Promise.all(
      Array.from({ length: 20 }, async (_, lane) => {
        for (let i = lane; i < MESSAGES; i += 20) {
          const to = `friend-${i % 50}`;
          await append(to, `${i} secret`);
        }
      }),
    );
    const authorization = `Bearer ${stage.deployment.token('operator', { admin: true })}`;
    const call = (method: string, path: string) =>
      fetch(`${gateway.address}/v1/users/zoe${path}`, { method, headers: { authorization } });
    const lines = (await (await call('GET', '/export')).text()).split('\n');
    expect(lines.filter((line) => line.includes('"message"'))).toHaveLength(MESSAGES);

    const startedAt = performance.now();
    expect((await call('DELETE', '')).status).toBe(202);
    const first = await stage.deployment.start('archiver');
    await until('the ends of the logs are noted', 20_000, () => stage.store.hexists(stage.keys.erasure('zoe'), 'ends'));
    await first.kill('SIGKILL');
    const early = await RawSession.open(gateway);
    early.hello(stage.deployment.token('zoe'));
    expect(await early.ended).toMatchObject({ code: 1012 });
    expect(early.of('error')).toMatchObject([{ code: 'unavailable', message: expect.stringContaining('erased') }]);
    await stage.deployment.start('archiver');
    await until(
      'zoe is erased',
      60_000 - (performance.now() - startedAt),
      async () => (await (await call('GET', '/erasure')).json()) as { state: string },
      ({ state }) => state === 'done',
    );
    for (let i = 0; i < 50; i++) {
      const user = `friend-${i}`;
      const url = `${gateway.address}/v1/channels/dm:${user}:zoe/messages?limit=200`;
      const headers = { authorization: `Bearer ${stage.deployment.token(user)}` };
      const { messages } = (await (await fetch(url, { headers })).json()) as Page;
      expect(messages).toHaveLength(MESSAGES / 50);
      expect(messages.every((m) => m.deleted && m.content === undefined)).toBe(true);
    }
    expect(await keysOf('zoe')).toEqual([]);
    await fanout.stop();
  });
});

let appended = 0;
async function append(to: string, content: string) {
  const n = appended++;
  const id = `${n.toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`;
  const channel = `dm:${to}:zoe`;
  const message = { channel, from: 'zoe', clientId: `z${n}`, id, content, snippet: content };
  await new Verbs(stage.store, stage.keys).append({ ...message, kind: 'direct', mayCreate: true });
}
