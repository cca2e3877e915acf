import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Accepted, ChannelInfo, History, Members } from '../../../lib/protocol/http.ts';
import { type Api, answered, startApi } from './testing.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.stop());

const send = async (user: string, channel: string, text: string) => {
  const answer = await api.as(user)('POST /v1/messages', { channel, content: text, client_id: `${user}-${text}` });
  expect(answer.status).toBe(202);
  return answered(Accepted, answer.body);
};
const create = async (by: string, body: object) => {
  const { status, body: info } = await api.as(by)('POST /v1/channels', body);
  return { status, ...answered(ChannelInfo, info) };
};
const historyOf = async (user: string, channel: string, query = '') => {
  const { status, body } = await api.as(user)(`GET /v1/channels/${channel}/messages${query}`);
  expect(status).toBe(200);
  return answered(History, body);
};
const seqs = (page: History) => page.messages.map(({ seq }) => seq);

describe('groups', () => {
  test('a new group has its creator as owner and each member once', async () => {
    const made = await create('alice', { title: 'Trip', members: ['bob', 'alice', 'bob'] });
    expect(made).toMatchObject({ status: 201, title: 'Trip', owner: 'alice', last_seq: 1, role: 'owner', members: 2 });
    expect(made.channel).toMatch(/^g:[\w-]{22}$/);
    const { body } = await api.as('bob')(`GET /v1/channels/${made.channel}/members`);
    expect(answered(Members, body).members).toEqual([
      { user: 'alice', role: 'owner', since: 1 },
      { user: 'bob', role: 'member', since: 1 },
    ]);
    expect((await create('alice', { members: [] })).title).toBeNull();
  });

  test('the same client_id again finds the same group, whatever else differs; other creators have their own', async () => {
    const first = await create('alice', { title: 'One', members: ['bob'], client_id: 'once' });
    expect(first.status).toBe(201);
    const again = await Promise.all([
      create('alice', { title: 'Two', members: ['carol'], client_id: 'once' }),
      create('alice', { members: [], client_id: 'once' }),
    ]);
    for (const repeat of again) expect(repeat).toEqual({ ...first, status: 200 });
    const others = await create('bob', { members: [], client_id: 'once' });
    expect(others.status).toBe(201);
    expect(others.channel).not.toBe(first.channel);
    expect((await create('alice', { members: [] })).channel).not.toBe((await create('alice', { members: [] })).channel);
  });

  test('ten identical calls at once make one group', async () => {
    const made = await Promise.all(
      Array.from({ length: 10 }, () => create('alice', { members: ['bob'], client_id: 'at-once' })),
    );
    expect(made.map(({ status }) => status).sort()).toEqual([...Array(9).fill(200), 201]);
    expect(new Set(made.map(({ channel }) => channel)).size).toBe(1);
  });
});

describe('direct channels', () => {
  test('exist before their first message, for the two alone', async () => {
    const expected = { channel: 'dm:dave:erin', title: null, owner: null, last_seq: 0, role: null, members: 2 };
    for (const user of ['dave', 'erin']) {
      expect((await api.as(user)('GET /v1/channels/dm:dave:erin')).body).toEqual(expected);
      expect(await historyOf(user, 'dm:dave:erin')).toEqual({ messages: [], last_seq: 0, complete_to: 0 });
      const { body } = await api.as(user)('GET /v1/channels/dm:dave:erin/members');
      expect(answered(Members, body).members.map((member) => member.user)).toEqual(['dave', 'erin']);
    }
    for (const path of ['', '/messages', '/members']) {
      for (const as of [api.as('mallory'), api.as('backend', { admin: true })]) {
        expect(await as(`GET /v1/channels/dm:dave:erin${path}`)).toMatchObject({
          status: 403,
          body: { error: { code: 'forbidden' } },
        });
      }
    }
    expect((await api.as('backend', { admin: true, for: 'erin' })('GET /v1/channels/dm:dave:erin')).status).toBe(200);
    expect((await api.as('dave')('GET /v1/channels/dm:dave:dave')).body).toMatchObject({ members: 1 });
  });

  test('change neither title nor members', async () => {
    const dave = api.as('dave');
    expect((await dave('PATCH /v1/channels/dm:dave:erin', { title: 'x' })).status).toBe(400);
    expect((await dave('PUT /v1/channels/dm:dave:erin/members/mallory')).status).toBe(400);
    expect((await dave('DELETE /v1/channels/dm:dave:erin/members/erin')).status).toBe(400);
    expect((await api.as('mallory')('PATCH /v1/channels/dm:dave:erin', { title: 'x' })).status).toBe(403);
  });

  test('a message by `to` lands in both users’ channel; the same client_id is answered again', async () => {
    const body = { to: 'frank', content: 'hello', client_id: 'm1', metadata: { mood: 'fine' } };
    const first = await api.as('greta')('POST /v1/messages', body);
    expect(first).toMatchObject({
      status: 202,
      body: { channel: 'dm:frank:greta', seq: 1, duplicate: false, client_id: 'm1' },
    });
    const again = await api.as('greta')('POST /v1/messages', { ...body, content: 'something else' });
    expect(again).toEqual({ ...first, headers: again.headers, body: { ...(first.body as object), duplicate: true } });
    const page = await historyOf('frank', 'dm:frank:greta');
    const { id, ts } = first.body as Accepted;
    expect(page).toEqual({
      messages: [
        {
          type: 'message',
          channel: 'dm:frank:greta',
          seq: 1,
          id,
          from: 'greta',
          client_id: 'm1',
          ts,
          content: 'hello',
          metadata: { mood: 'fine' },
        },
      ],
      last_seq: 1,
      complete_to: 1,
    });
  });
});

describe('history', () => {
  test('pages both ways, dense over messages and events', async () => {
    const { channel } = await create('alice', { title: 'Long', members: ['bob'] });
    for (let i = 2; i <= 7; i++) await send(i % 2 ? 'alice' : 'bob', channel, `m${i}`);
    await api.as('alice')(`PATCH /v1/channels/${channel}`, { title: 'Longer' });
    const page = await historyOf('bob', channel);
    expect(seqs(page)).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    expect(page.messages[0]).toMatchObject({ type: 'renamed', title: 'Longer', by: 'alice' });
    expect(page.messages.at(-1)).toMatchObject({ type: 'created', title: 'Long', by: 'alice', channel });
    expect(page).toMatchObject({ last_seq: 8, complete_to: 8 });
    expect(seqs(await historyOf('bob', channel, '?limit=3'))).toEqual([8, 7, 6]);
    expect(seqs(await historyOf('bob', channel, '?before=6&limit=3'))).toEqual([5, 4, 3]);
    expect(seqs(await historyOf('bob', channel, '?after=2&limit=3'))).toEqual([3, 4, 5]);
    expect(seqs(await historyOf('bob', channel, '?after=0&limit=200'))).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(seqs(await historyOf('bob', channel, '?after=8'))).toEqual([]);
    expect(seqs(await historyOf('bob', channel, '?before=1'))).toEqual([]);
  });

  test('shows a member the intervals of their membership, a service everything, others nothing', async () => {
    const { channel } = await create('alice', { members: ['bob'] }); // 1
    const member = (method: string) => api.as('alice')(`${method} /v1/channels/${channel}/members/carol`);
    await send('alice', channel, 'before'); // 2
    await member('PUT'); // 3
    await send('alice', channel, 'seen'); // 4
    await member('DELETE'); // 5
    await send('alice', channel, 'unseen'); // 6
    expect((await api.as('carol')(`GET /v1/channels/${channel}/messages`)).status).toBe(404);
    await member('PUT'); // 7
    await send('carol', channel, 'back'); // 8
    expect(seqs(await historyOf('carol', channel))).toEqual([8, 7, 5, 4, 3]);
    expect(seqs(await historyOf('carol', channel, '?after=4&limit=2'))).toEqual([5, 7]);
    expect(seqs(await historyOf('bob', channel))).toHaveLength(8);
    const service = await api.as('backend', { admin: true })(`GET /v1/channels/${channel}/messages`);
    expect(seqs(answered(History, service.body))).toHaveLength(8);
    expect((await api.as('mallory')(`GET /v1/channels/${channel}/messages`)).status).toBe(404);
    expect((await api.as('mallory')('GET /v1/channels/g:none/messages')).status).toBe(404);
  });
});
