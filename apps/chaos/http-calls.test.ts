/** Every call of HTTP over the wire answers with exactly the fields of the reference. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Call, calls } from '../../lib/protocol/calls.ts';
import { until } from '../../ops/until.ts';
import { type Answer, type Asking, ask, expectRefused } from './ask.ts';
import { expectExactly } from './exactly.ts';
import { RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
let group: string;
/** `method path` of the reference → what it answered, of those that did not refuse. */
const answered = new Map<Call, Answer[]>();

beforeAll(async () => {
  stage = await Stage.set();
});
afterAll(() => stage?.clear());

/** Which call of the reference a line is. */
function callOf(line: string): Call {
  const [method, path = ''] = line.split(' ');
  const parts = path.split('?')[0]!.split('/');
  const found = calls.find((call) => {
    const own = call.path.split('/');
    const same = own.length === parts.length && own.every((part, i) => part.startsWith(':') || part === parts[i]);
    return same && call.method.toUpperCase() === method;
  });
  if (!found) throw new Error(`not in the reference: ${line}`);
  return found;
}

/** Says the line on the gateways in turn; the answer has to be one of those that the reference knows. */
let turn = 0;
async function told(user: string | null, line: string, asking: Asking = {}): Promise<Answer> {
  const answer = await ask(stage, user, line, { gateway: turn++, ...asking });
  const call = callOf(line);
  const known = call.answers[answer.status];
  if (known === undefined) throw new Error(`${line}: ${answer.status} ${answer.text}`);
  const type = answer.headers.get('content-type') ?? '';
  if (known.body === undefined && known.contentType === undefined) expect([line, answer.text]).toEqual([line, '']);
  else expect([line, type]).toEqual([line, expect.stringContaining(known.contentType ?? 'application/json')]);
  if (known.body !== undefined && known.contentType === undefined) expectExactly(known.body, answer.body, line);
  answered.set(call, [...(answered.get(call) ?? []), answer]);
  return answer;
}

describe('what each call answers', () => {
  it('messages: 202 with the fields of accepted, the same again as a duplicate, edits and deletions likewise', async () => {
    const body = { to: 'ben', content: 'text', client_id: 'h1', metadata: { a: 'b' } };
    const first = await told('ann', 'POST /v1/messages', { body });
    expect(first).toMatchObject({ status: 202, body: { channel: 'dm:ann:ben', seq: 1, duplicate: false } });
    const again = await told('ann', 'POST /v1/messages', { body: { ...body, content: 'other' } });
    expect(again).toMatchObject({ status: 202, body: { ...(first.body as object), duplicate: true } });
    const message = '/v1/channels/dm:ann:ben/messages';
    await told('ben', 'POST /v1/messages', { body: { channel: 'dm:ann:ben', content: 'two', client_id: 'b1' } });
    await told('ann', 'POST /v1/messages', { body: { ...body, client_id: 'h2' } });
    const edit = { content: 'edited', client_id: 'h3' };
    expect((await told('ann', `PATCH ${message}/1`, { body: edit })).body).toMatchObject({ seq: 4, duplicate: false });
    const wrong = await ask(stage, 'ann', `PATCH ${message}/2`, { body: { ...edit, client_id: 'h4' } });
    expectRefused(wrong, 403, 'forbidden', 'an edit of another’s');
    const inBody = await told('ann', `DELETE ${message}/3`, { body: { client_id: 'h5' } });
    expect(inBody.body).toMatchObject({ seq: 5, client_id: 'h5' });
    const inQuery = await told('ann', `DELETE ${message}/3?client_id=h5`);
    expect(inQuery.body).toMatchObject({ seq: 5, client_id: 'h5', duplicate: true });
    const empty = await told('ann', `DELETE ${message}/3?client_id=h5`, { body: {} });
    expect(empty.body).toMatchObject({ seq: 5, client_id: 'h5', duplicate: true });
  });

  it('history: messages and events, newest first, or oldest first with after; edited and deleted as they are now', async () => {
    const path = 'GET /v1/channels/dm:ann:ben/messages';
    const { body } = await told('ben', path);
    const page = body as { messages: Record<string, unknown>[]; last_seq: number; complete_to: number };
    expect(page.messages.map(({ seq, type }) => [seq, type])).toEqual([
      [5, 'deleted'],
      [4, 'edited'],
      [3, 'message'],
      [2, 'message'],
      [1, 'message'],
    ]);
    expect(page).toMatchObject({ last_seq: 5, complete_to: 5 });
    expect(page.messages[4]).toMatchObject({ content: 'edited', edited_at: expect.any(Number), metadata: { a: 'b' } });
    expect(page.messages[2]).toMatchObject({ deleted: true });
    expect(Object.keys(page.messages[2]!)).toEqual(expect.not.arrayContaining(['content', 'metadata']));
    const seqs = async (query: string) =>
      ((await told('ann', `${path}?${query}`)).body as typeof page).messages.map(({ seq }) => seq);
    expect(await seqs('before=4&limit=2')).toEqual([3, 2]);
    expect(await seqs('after=2&limit=2')).toEqual([3, 4]);
    expect(await seqs('after=0&limit=200')).toEqual([1, 2, 3, 4, 5]);
    expect(await seqs('before=1')).toEqual([]);
    expect(await seqs('after=5')).toEqual([]);
    for (const query of ['limit=0', 'limit=201', 'before=3&after=1', 'before=0', 'after=-1', 'limit=']) {
      expectRefused(await ask(stage, 'ann', `${path}?${query}`), 400, 'bad_request', query);
    }
  });

  it('groups: 201, and 200 with the same channel for the same client_id; members is the number', async () => {
    const body = { title: 'Crew', members: ['ben', 'ben', 'ann'], client_id: 'g1' };
    const made = await told('ann', 'POST /v1/channels', { body });
    expect(made.status).toBe(201);
    group = (made.body as { channel: string }).channel;
    expect(made.body).toEqual({ channel: group, title: 'Crew', owner: 'ann', last_seq: 1, role: 'owner', members: 2 });
    const again = await told('ann', 'POST /v1/channels', { body: { ...body, title: 'Other', members: [] } });
    expect(again).toMatchObject({ status: 200, body: made.body as object });
    expect((await told('ben', `GET /v1/channels/${group}`)).body).toMatchObject({ role: 'member', members: 2 });
    expect((await told('ann', `PATCH /v1/channels/${group}`, { body: { title: 'Team' } })).body).toMatchObject({
      title: 'Team',
      last_seq: 2,
    });
    expect((await told('ben', 'GET /v1/channels/dm:ann:ben')).body).toEqual({
      channel: 'dm:ann:ben',
      title: null,
      owner: null,
      last_seq: 5,
      role: null,
      members: 2,
    });
  });

  it('members: with roles and the seq of their joining; PUT and DELETE are idempotent', async () => {
    for (let times = 0; times < 2; times++) await told('ann', `PUT /v1/channels/${group}/members/cyd`);
    expect((await told('cyd', `GET /v1/channels/${group}/members`)).body).toEqual({
      members: [
        { user: 'ann', role: 'owner', since: 1 },
        { user: 'ben', role: 'member', since: 1 },
        { user: 'cyd', role: 'member', since: 3 },
      ],
    });
    for (let times = 0; times < 2; times++) await told('ann', `DELETE /v1/channels/${group}/members/cyd`);
    await told('ann', `PUT /v1/channels/${group}/members/cyd`, { body: { role: 'admin' } });
    const { body } = await told('ann', `GET /v1/channels/${group}/members`);
    expect(body).toMatchObject({ members: [{}, {}, { user: 'cyd', role: 'admin', since: 5 }] });
    const mine = await told('cyd', `GET /v1/channels/${group}/messages?after=0`);
    expect((mine.body as { messages: { seq: number }[] }).messages.map(({ seq }) => seq)).toEqual([3, 4, 5]);
  });

  it('receipts, conversations, presence, devices and blocks', async () => {
    const ben = await RawSession.start(stage.deployment, stage.gateway(1), 'ben');
    const { body: sent } = await told('ann', 'POST /v1/messages', {
      body: { to: 'ben', content: 'x', client_id: 'r' },
    });
    const { seq } = sent as { seq: number };
    ben.send({ type: 'read', channel: 'dm:ann:ben', seq });
    const path = 'GET /v1/channels/dm:ann:ben/receipts';
    const readBy = async () =>
      ((await told('ann', path)).body as { receipts: { user: string; read: number }[] }).receipts.find(
        ({ user }) => user === 'ben',
      )?.read;
    await until('the read to be stored', 10_000, readBy, (read) => read === seq);
    expect((await told('cyd', `GET /v1/channels/${group}/receipts`)).body).toMatchObject({
      receipts: [
        { user: 'ann' },
        { user: 'ben', delivered: 0, read: 0 },
        // Since seq 5: nobody waits for them to read what was before.
        { user: 'cyd', delivered: 4, read: 4 },
      ],
    });
    expect((await told('ann', 'GET /v1/presence?users=ben,stranger')).body).toEqual({
      presence: [
        { user: 'ben', status: 'online', last_seen: expect.any(Number) },
        { user: 'stranger', status: 'offline', last_seen: null },
      ],
    });
    const device = { platform: 'ios', push_token: 'token-1' };
    await told('ben', 'PUT /v1/devices/tablet', { body: device });
    expect((await told('ben', 'GET /v1/devices')).body).toEqual({
      devices: [
        { device: 'phone', push: false, last_seen: expect.any(Number), connected: true },
        { device: 'tablet', platform: 'ios', push: true, last_seen: null, connected: false },
      ],
    });
    await told('ben', 'DELETE /v1/devices/tablet');
    await told('ben', 'PUT /v1/blocks/mallory');
    expect((await told('ben', 'GET /v1/blocks')).body).toEqual({ blocks: ['mallory'] });
    await told('ben', 'DELETE /v1/blocks/mallory');
    expect((await told('ben', 'GET /v1/blocks')).body).toEqual({ blocks: [] });
    await ben.close();
  });

  it('conversations come in pages, latest first, with what is unread over all pages', async () => {
    interface Page {
      conversations: { channel: string; unread: number; title?: string; peer?: object }[];
      unread_total: number;
      next?: string;
    }
    const count = (line: string) => told('ben', line).then(({ body }) => body as Page);
    const senders = ['dan', 'eve', 'fay', 'gil'];
    for (const from of senders) {
      await told(from, 'POST /v1/messages', { body: { to: 'ben', content: `by ${from}`, client_id: 'p' } });
      const isThere = ({ conversations }: Page) => conversations[0]?.channel === `dm:ben:${from}`;
      await until(`what ${from} sent`, 10_000, () => count('GET /v1/conversations'), isThere);
    }
    const whole = await count('GET /v1/conversations?limit=100');
    expect(whole.conversations.slice(0, 4).map(({ channel }) => channel)).toEqual(
      [...senders].reverse().map((from) => `dm:ben:${from}`),
    );
    const found: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await count(`GET /v1/conversations?limit=2${cursor === undefined ? '' : `&cursor=${cursor}`}`);
      expect(page.unread_total).toBe(4);
      found.push(...page.conversations.map(({ channel }) => channel));
      cursor = page.next;
    } while (cursor !== undefined);
    expect(found).toEqual(whole.conversations.map(({ channel }) => channel));
    expect(whole.conversations.find(({ channel }) => channel === group)).toMatchObject({ title: 'Team' });
    expect(whole.conversations.find(({ channel }) => channel === 'dm:ann:ben')).toMatchObject({
      peer: { delivered: 6, read: 6 },
      unread: 0,
    });
    for (const query of ['limit=0', 'limit=101', 'cursor=nonsense', 'cursor=']) {
      expectRefused(await ask(stage, 'ben', `GET /v1/conversations?${query}`), 400, 'bad_request', query);
    }
  });

  it('export: a JSON object a line, with what the user wrote, their channels and devices, and nobody else’s', async () => {
    const exported = (await told('ann', 'GET /v1/users/ann/export')).text;
    expect(exported.endsWith('\n')).toBe(true);
    const lines = exported
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const contents = lines.filter(({ type }) => type === 'message').map(({ content }) => content);
    expect(contents.sort()).toEqual(['edited', 'x']);
    expect(lines.filter(({ type }) => type === 'channel').map(({ channel }) => channel)).toEqual(
      expect.arrayContaining(['dm:ann:ben', group]),
    );
    expect((await told('backend', 'GET /v1/users/ann/export', { admin: true })).text).toContain('"edited"');
    expectRefused(await ask(stage, 'ben', 'GET /v1/users/ann/export'), 403, 'forbidden', 'another’s export');
  });

  it('erasure: 202 for oneself and admins, its state for admins alone', async () => {
    const path = 'GET /v1/users/gil/erasure';
    expect((await told('backend', path, { admin: true })).body).toEqual({ state: 'none', since: null });
    expectRefused(await ask(stage, 'gil', path), 403, 'forbidden', 'one’s own state');
    expectRefused(await ask(stage, 'ben', 'DELETE /v1/users/gil'), 403, 'forbidden', 'another’s account');
    const begun = await told('gil', 'DELETE /v1/users/gil');
    expect(begun).toMatchObject({ status: 202, body: { state: 'running', since: expect.any(Number) } });
    const state = async () => ((await told('backend', path, { admin: true })).body as { state: string }).state;
    await until('the erasure to be done', 30_000, state, (is) => is === 'done');
  });

  it('health, readiness with each part’s state, metrics and the reference need no token', async () => {
    expect((await told(null, 'GET /healthz')).body).toMatchObject({ status: 'ok', service: 'millrace' });
    expect(await told(null, 'GET /readyz')).toMatchObject({
      status: 200,
      body: { status: 'ready', parts: { redis: expect.any(String), archive: expect.any(String) } },
    });
    expect((await told(null, 'GET /metrics')).text).toMatch(/^# HELP /);
    expect((await told(null, 'GET /v1/openapi.json')).body).toMatchObject({ openapi: expect.stringMatching(/^3\.1/) });
    expect((await told(null, 'GET /v1/asyncapi.json')).body).toMatchObject({ asyncapi: expect.stringMatching(/^3\./) });
  });

  it('every call of the reference was heard, and the RateLimit headers on sends alone', () => {
    expect(calls.filter((call) => !answered.has(call)).map(({ method, path }) => `${method} ${path}`)).toEqual([]);
    for (const [{ method, path, limited }, answers] of answered) {
      for (const { headers } of answers) {
        const told = ['limit', 'remaining', 'reset'].map((name) =>
          /^\d+$/.test(headers.get(`ratelimit-${name}`) ?? ''),
        );
        expect([method, path, told]).toEqual([method, path, Array(3).fill(limited === true)]);
      }
    }
    expect(stage.complaints()).toEqual([]);
  });
});
