import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { Conversations, History, Receipts } from '../../../lib/protocol/http.ts';
import { until } from '../../../ops/until.ts';
import { type Api, answered, startApi } from './testing.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterEach(() => vi.restoreAllMocks());
afterAll(() => api.stop());

let count = 0;
const send = (from: string, to: string, content: string) =>
  api.as(from)('POST /v1/messages', { to, content, client_id: `c${count++}` });
const history = async (user: string, channel: string) =>
  answered(History, (await api.as(user)(`GET /v1/channels/${channel}/messages?limit=50&after=0`)).body).messages;
const begin = (user: string) => api.as(user)(`DELETE /v1/users/${user}`);
/** What the archiver does at the very end. */
async function finish(user: string): Promise<void> {
  const { since } = await api.ctx.accounts.erasure(user);
  expect(await api.ctx.accounts.finishErasure(user, since ?? 0)).toBe(true);
}

test('what an erased user wrote is shown to nobody, though the log’s tail has it and the archive does not answer', async () => {
  await send('alice', 'bob', 'a secret');
  await send('bob', 'alice', 'an answer');
  const edit = { client_id: 'e', content: 'an edited secret' };
  expect((await api.as('alice')('PATCH /v1/channels/dm:alice:bob/messages/1', edit)).status).toBe(202);
  vi.spyOn(api.ctx.archive, 'page').mockRejectedValue(new Error('the archive is away'));
  expect((await history('bob', 'dm:alice:bob')).map((m) => 'content' in m && m.content)).toEqual([
    'an edited secret',
    'an answer',
    'an edited secret',
  ]);
  await begin('alice');
  await finish('alice');
  const expected = [
    { type: 'message', seq: 1, from: 'alice', deleted: true },
    { type: 'message', seq: 2, from: 'bob', content: 'an answer' },
    { type: 'edited', seq: 3, target: 1, from: 'alice' },
  ];
  const messages = await history('bob', 'dm:alice:bob');
  expect(messages).toMatchObject(expected);
  expect(JSON.stringify(messages)).not.toContain('secret');
  // Whoever has the id now is heard; and while they are erased in turn, the former’s texts do not come back.
  await send('alice', 'bob', 'hello from another alice');
  expect((await history('bob', 'dm:alice:bob')).at(-1)).toMatchObject({ content: 'hello from another alice' });
  await begin('alice');
  expect((await history('bob', 'dm:alice:bob')).slice(0, 3)).toMatchObject(expected);
  expect(JSON.stringify(await history('bob', 'dm:alice:bob'))).not.toContain('secret');
});

test('while a user is being erased nobody acts as them or puts them anywhere; then the id is anybody’s', async () => {
  await begin('carol');
  const unavailable = { status: 503, body: { error: { code: 'unavailable', retry_after_ms: expect.any(Number) } } };
  const carol = api.as('carol');
  expect(await send('carol', 'bob', 'still here')).toMatchObject(unavailable);
  expect(await carol('POST /v1/channels', { members: ['bob'] })).toMatchObject(unavailable);
  expect(await carol('PUT /v1/devices/phone', { platform: 'ios', push_token: 't' })).toMatchObject(unavailable);
  expect(await carol('PUT /v1/blocks/bob')).toMatchObject(unavailable);
  expect(await api.as('admin', { admin: true, for: 'carol' })('PUT /v1/blocks/bob')).toMatchObject(unavailable);
  expect(await api.as('bob')('POST /v1/channels', { members: ['carol'] })).toMatchObject(unavailable);
  // A channel that began now would be seen by whoever has the id next.
  expect(await send('bob', 'carol', 'to the former carol')).toMatchObject(unavailable);
  const { body } = await api.as('bob')('POST /v1/channels', { members: ['dave'] });
  const { channel } = body as { channel: string };
  expect(await api.as('bob')(`PUT /v1/channels/${channel}/members/carol`, {})).toMatchObject(unavailable);
  const session = { device: 'phone', session: 's', gateway: 'g', maxSessions: 8 };
  await expect(api.ctx.verbs.attach({ user: 'carol', ...session })).rejects.toMatchObject({ code: 'unavailable' });
  // Asked again it says the same, and looking is no harm.
  expect(await begin('carol')).toMatchObject({ status: 202, body: { state: 'running' } });
  expect(await carol('GET /v1/conversations')).toMatchObject({ status: 200 });

  await finish('carol');
  expect(await send('carol', 'bob', 'another carol')).toMatchObject({ status: 202 });
  expect(await api.as('bob')(`PUT /v1/channels/${channel}/members/carol`, {})).toMatchObject({ status: 204 });
  expect(await api.ctx.verbs.attach({ user: 'carol', ...session })).toMatchObject({ first: true });
});

test('of what was before an erasure, nobody waits for whoever has the id now: watermarks do not go back', async () => {
  const channel = 'dm:gina:hugo';
  for (let i = 0; i < 3; i++) await send('gina', 'hugo', `message ${i}`);
  await send('hugo', 'gina', 'all read');
  await api.fanOut(channel, ['gina', 'hugo']);
  const gina = api.as('gina');
  const seen = async () => {
    const { receipts } = answered(Receipts, (await gina(`GET /v1/channels/${channel}/receipts`)).body);
    const { conversations } = answered(Conversations, (await gina('GET /v1/conversations')).body);
    expect(conversations[0]?.last_message).toMatchObject({ from: expect.stringMatching(/^(gina|hugo)$/) });
    return [receipts.find(({ user }) => user === 'hugo'), { user: 'hugo', ...conversations[0]?.peer }];
  };
  const upTo = (seq: number) => ({ user: 'hugo', delivered: seq, read: seq });
  await until('hugo has read what he answered', 10_000, seen, ([receipt]) => receipt?.read === 4);
  await begin('hugo');
  await api.ctx.accounts.eraseFromChannel('hugo', channel, Date.now());
  await finish('hugo');
  expect(await seen()).toEqual([upTo(4), upTo(4)]);
  await send('gina', 'hugo', 'who are you?');
  expect(await seen()).toEqual([upTo(4), upTo(4)]);
  await send('hugo', 'gina', 'another hugo');
  await until('he has read it', 10_000, seen, ([receipt]) => receipt?.read === 6);
  expect(await seen()).toEqual([upTo(6), upTo(6)]);
});
