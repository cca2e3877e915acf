/** Who may do what in a group, and what its members on two gateways are told of it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../ops/until.ts';
import { ask } from './ask.ts';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
/** Sees all groups of these tests from their beginning to their end. */
let witness: RawSession;
beforeAll(async () => {
  stage = await Stage.set();
  witness = await RawSession.start(stage.deployment, stage.gateway(1), 'witness');
});
afterAll(() => stage?.clear());

let turn = 0;
const told = async (user: string, line: string, body?: object, admin = false) =>
  ask(stage, user, line, { gateway: turn++, admin, ...(body === undefined ? {} : { body }) });
const status = async (...asked: Parameters<typeof told>) => (await told(...asked)).status;

interface Member {
  user: string;
  role: string;
  since: number;
}
async function group(...members: string[]) {
  const { body } = await told('olga', 'POST /v1/channels', { title: 'Crew', members: [...members, 'witness'] });
  const { channel } = body as { channel: string };
  const path = `/v1/channels/${channel}`;
  return {
    channel,
    path,
    put: (by: string, user: string, role?: string) =>
      status(by, `PUT ${path}/members/${user}`, role === undefined ? undefined : { role }),
    remove: (by: string, user: string) => status(by, `DELETE ${path}/members/${user}`),
    members: async () => ((await told('witness', `GET ${path}/members`)).body as { members: Member[] }).members,
    /** The events after `created`, as `action role user by`, once all are there. */
    events: async () => {
      const { body } = await told('witness', `GET ${path}`);
      const { last_seq } = body as { last_seq: number };
      await witness.until(() => witness.frames.find((f) => f.channel === channel && f.seq === last_seq), 'the last');
      const own = witness.frames.filter((f) => f.channel === channel && f.type === 'member');
      return own.map(({ action, role, user, by }) => `${action} ${role} ${user} ${by}`);
    },
  };
}

it('owner and admins add and remove, roles are the owner’s to give, anyone leaves', async () => {
  const crew = await group('adam', 'mia');
  expect(await crew.put('mia', 'new')).toBe(403);
  expect(await crew.put('stranger', 'new')).toBe(404);
  expect(await crew.put('olga', 'adam', 'admin')).toBe(204);
  expect(await crew.put('adam', 'new')).toBe(204);
  expect(await crew.put('adam', 'new', 'admin')).toBe(403);
  expect(await crew.put('olga', 'second', 'admin')).toBe(204);
  for (const user of ['olga', 'second']) expect(await crew.remove('adam', user)).toBe(403);
  expect(await crew.remove('mia', 'new')).toBe(403);
  expect(await crew.remove('adam', 'new')).toBe(204);
  expect(await crew.remove('mia', 'mia')).toBe(204);
  expect(await crew.events()).toEqual([
    'role admin adam olga',
    'added member new adam',
    'added admin second olga',
    'removed member new adam',
    'removed member mia mia',
  ]);
});

it('when the owner leaves, the oldest admin is owner, else the oldest member: one role event', async () => {
  const crew = await group('adam', 'zoe');
  await crew.put('olga', 'zoe', 'admin');
  await crew.put('olga', 'late', 'admin');
  expect(await crew.remove('olga', 'olga')).toBe(204);
  expect(await crew.remove('zoe', 'zoe')).toBe(204);
  expect(await crew.remove('late', 'late')).toBe(204);
  const events = await crew.events();
  expect(events.slice(2)).toEqual([
    'removed owner olga olga',
    'role owner zoe olga',
    'removed owner zoe zoe',
    'role owner late zoe',
    'removed owner late late',
    'role owner adam late',
  ]);
  expect(await crew.members()).toMatchObject([
    { user: 'adam', role: 'owner' },
    { user: 'witness', role: 'member' },
  ]);
});

it('the owner gives the group away and becomes admin', async () => {
  const crew = await group('adam');
  expect(await crew.put('olga', 'olga', 'member')).toBe(400);
  expect(await crew.put('adam', 'adam', 'owner')).toBe(403);
  expect(await crew.put('olga', 'adam', 'owner')).toBe(204);
  expect(await crew.members()).toMatchObject([{ user: 'adam', role: 'owner' }, { user: 'olga', role: 'admin' }, {}]);
  expect((await crew.events()).sort()).toEqual(['role admin olga olga', 'role owner adam olga']);
});

it('PUT of a member and DELETE of nobody make no event; neither does the same title', async () => {
  const crew = await group('adam');
  for (const role of [undefined, 'member']) expect(await crew.put('olga', 'adam', role)).toBe(204);
  expect(await crew.remove('olga', 'nobody')).toBe(204);
  expect((await told('olga', `PATCH ${crew.path}`, { title: 'Crew' })).body).toMatchObject({ last_seq: 1 });
  expect(await status('adam', `PATCH ${crew.path}`, { title: 'Mine' })).toBe(403);
  expect(await status('stranger', `PATCH ${crew.path}`, { title: 'Mine' })).toBe(404);
});

it('who comes back sees the intervals of their membership, in history, and nothing from before as unread', async () => {
  const crew = await group();
  const say = (content: string) =>
    told('olga', 'POST /v1/messages', { channel: crew.channel, content, client_id: content });
  await say('before');
  await crew.put('olga', 'rita');
  await say('first');
  await crew.remove('olga', 'rita');
  await say('away');
  expect(await status('rita', `GET ${crew.path}/messages`)).toBe(404);
  await crew.put('olga', 'rita');
  await say('second');
  const seen = (await told('rita', `GET ${crew.path}/messages?after=0`)).body as { messages: Frame[] };
  expect(seen.messages.map(({ seq, type, content }) => [seq, content ?? type])).toEqual([
    [3, 'member'],
    [4, 'first'],
    [5, 'member'],
    [7, 'member'],
    [8, 'second'],
  ]);
  expect((await crew.members()).find(({ user }) => user === 'rita')).toEqual({
    user: 'rita',
    role: 'member',
    since: 7,
  });
  interface Listed {
    conversations: { channel: string; last_seq: number; unread: number; left?: true }[];
  }
  const list = async () => ((await told('rita', 'GET /v1/conversations')).body as Listed).conversations[0];
  const mark = await until('the list to have it', 10_000, list, (listed) => listed?.last_seq === 8);
  expect(mark).toMatchObject({ channel: crew.channel, unread: 1 });
  await crew.remove('rita', 'rita');
  const gone = await until('the list to know', 10_000, list, (listed) => listed?.left === true);
  expect(gone).toMatchObject({ last_seq: 9, unread: 0 });
});

it('what one is no member of, or what never was, cannot be told apart', async () => {
  const crew = await group('adam');
  const calls = (path: string): [string, object?][] => [
    [`GET ${path}`],
    [`GET ${path}/messages`],
    [`GET ${path}/members`],
    [`GET ${path}/receipts`],
    [`PATCH ${path}`, { title: 'x' }],
    [`PUT ${path}/members/x`],
    [`DELETE ${path}/members/adam`],
    [`PATCH ${path}/messages/1`, { client_id: 'c', content: 'x' }],
    [`DELETE ${path}/messages/1`, { client_id: 'c' }],
  ];
  const nowhere = calls('/v1/channels/g:nowhere');
  for (const [i, [line, body]] of calls(crew.path).entries()) {
    const [closed, missing] = [await told('stranger', line, body), await told('stranger', ...nowhere[i]!)];
    expect([line, closed.status, closed.text]).toEqual([line, 404, missing.text]);
  }
  const send = { content: 'x', client_id: 'x' };
  const [closed, missing] = [crew.channel, 'g:nowhere'].map((channel) =>
    told('stranger', 'POST /v1/messages', { ...send, channel }),
  );
  expect([(await closed)?.status, (await closed)?.text]).toEqual([404, (await missing)?.text]);
});

it('a service token reads and manages every group, and sends where the user it acts for may', async () => {
  const crew = await group('adam');
  const as = (user: string) => ({ 'millrace-user': user });
  const service = (line: string, body?: object, headers = {}) =>
    ask(stage, 'backend', line, { admin: true, headers, gateway: turn++, ...(body === undefined ? {} : { body }) });
  expect((await service(`GET ${crew.path}`)).body).toMatchObject({ role: null, members: 3 });
  expect((await service(`GET ${crew.path}/messages`)).body).toMatchObject({ last_seq: 1 });
  expect((await service(`PUT ${crew.path}/members/eve`, { role: 'admin' })).status).toBe(204);
  expect((await service(`PATCH ${crew.path}`, { title: 'Ours' }, as('stranger'))).status).toBe(200);
  const message = { channel: crew.channel, content: 'hello', client_id: 'svc' };
  expect((await service('POST /v1/messages', message)).status).toBe(404);
  expect((await service('POST /v1/messages', message, as('stranger'))).status).toBe(404);
  expect((await service('POST /v1/messages', message, as('eve'))).status).toBe(202);
  await witness.next('message', { channel: crew.channel, from: 'eve' });
  expect((await service('POST /v1/messages', { ...message, channel: 'dm:adam:eve' })).status).toBe(403);
  expect(await crew.events()).toEqual(['added admin eve backend']);
});

it('a direct channel’s members and title do not change', async () => {
  await told('adam', 'POST /v1/messages', { to: 'mia', content: 'x', client_id: 'x' });
  const path = '/v1/channels/dm:adam:mia';
  expect(await status('adam', `PATCH ${path}`, { title: 'x' })).toBe(400);
  expect(await status('adam', `PUT ${path}/members/olga`)).toBe(400);
  expect(await status('adam', `DELETE ${path}/members/mia`)).toBe(400);
  expect(await status('olga', `PATCH ${path}`, { title: 'x' })).toBe(403);
});

it('a full group takes nobody more: conflict', async () => {
  const { body } = await told('olga', 'POST /v1/channels', { members: Array.from({ length: 499 }, (_, i) => `f${i}`) });
  const { channel, members } = body as { channel: string; members: number };
  expect(members).toBe(500);
  const more = await told('olga', `PUT /v1/channels/${channel}/members/one-more`);
  expect([more.status, more.text]).toEqual([409, expect.stringContaining('conflict')]);
  expect(await status('olga', `PUT /v1/channels/${channel}/members/f1`, { role: 'admin' })).toBe(204);
  expect(stage.complaints()).toEqual([]);
});
