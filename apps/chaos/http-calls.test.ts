/** Every call of HTTP over the wire: answers with exactly the fields of the reference, refusals with the one body. */
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Call, calls } from '../../lib/protocol/calls.ts';
import { ErrorAnswer } from '../../lib/protocol/http.ts';
import { until } from '../../ops/until.ts';
import { type Answer, type Asking, ask } from './ask.ts';
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

function expectRefused(answer: Answer, status: number, code: string, what: string) {
  expect([what, answer.status, answer.text]).toEqual([what, status, expect.stringContaining(`"code":"${code}"`)]);
  expect(answer.headers.get('content-type')).toContain('application/json');
  expectExactly(ErrorAnswer, answer.body, what);
}

const filled = (path: string) =>
  path.replace(':channel', 'dm:ann:ben').replace(':seq', '1').replace(':user', 'ben').replace(':device', 'phone');

/** An upgrade without a key: fetch would not send it. */
async function brokenUpgrade(): Promise<string> {
  const { hostname, port } = new URL(stage.gateway(0).address);
  const socket = connect(Number(port), hostname);
  socket.write(`GET /v1/ws HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
  return await text(socket);
}

const api = calls.filter(({ path }) => path.startsWith('/v1/'));

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
      receipts: [{ user: 'ann' }, { user: 'ben', delivered: 0, read: 0 }, { user: 'cyd' }],
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

describe('what is refused, on every route, with the one body', () => {
  it('401 without a token, with a bad one, and with another scheme', async () => {
    for (const { method, path, open } of api) {
      if (open) continue;
      const line = `${method.toUpperCase()} ${filled(path)}`;
      for (const headers of [{}, { authorization: 'Bearer x' }, { authorization: 'Basic x' }]) {
        expectRefused(await ask(stage, null, line, { headers }), 401, 'unauthenticated', line);
      }
    }
  });

  it('404 for unknown routes, and for each known path with every other method', async () => {
    for (const path of ['/', '/v1', '/v1/', '/v1/nothing', '/v2/messages', '/v1/messages/', '/v1/channels/g:a/']) {
      expectRefused(await ask(stage, 'ann', `GET ${path}`), 404, 'not_found', path);
    }
    for (const path of new Set(calls.map((call) => call.path))) {
      const known = calls.filter((call) => call.path === path).map(({ method }) => method.toUpperCase());
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
        if (known.includes(method)) continue;
        const line = `${method} ${filled(path)}`;
        for (const user of [null, 'ann']) expectRefused(await ask(stage, user, line), 404, 'not_found', line);
      }
    }
    expectRefused(await ask(stage, 'ann', 'POST /v1/ws'), 404, 'not_found', 'POST /v1/ws');
    expectRefused(await ask(stage, 'ann', 'GET /v1/ws'), 404, 'not_found', 'no upgrade');
    expect(await brokenUpgrade()).toMatch(
      /^HTTP\/1.1 400 .*\r\n\r\n{"error":{"code":"bad_request","message":"[^"]+"}}$/s,
    );
  });

  it('415 for a body of another type, 400 for one that is no JSON object, 413 for one over a mebibyte', async () => {
    for (const { method, path, body, bodyOptional } of api) {
      if (!body) continue;
      const line = `${method.toUpperCase()} ${filled(path)}`;
      for (const type of ['text/plain', 'application/xml', 'application/x-www-form-urlencoded']) {
        const answer = await ask(stage, 'ann', line, { raw: '{}', headers: { 'content-type': type } });
        expectRefused(answer, 415, 'bad_request', `${line} ${type}`);
      }
      for (const raw of ['{', '[]', '5', 'null', '"x"']) {
        expectRefused(await ask(stage, 'ann', line, { raw }), 400, 'bad_frame', `${line} ${raw}`);
      }
      if (!bodyOptional) expectRefused(await ask(stage, 'ann', line), 400, 'bad_frame', `${line} without a body`);
      const answer = await ask(stage, 'ann', line, { raw: JSON.stringify({ x: 'x'.repeat(1024 * 1024) }) });
      expectRefused(answer, 413, 'too_large', line);
    }
  });

  it('null in an optional field, and elements of another type, are of the wrong type', async () => {
    const whole = { to: 'ben', content: 'x', client_id: 'null' };
    const cases: [string, object][] = [
      ['POST /v1/messages', { ...whole, metadata: null }],
      ['POST /v1/messages', { ...whole, channel: null }],
      ['POST /v1/messages', { ...whole, to: null, channel: 'dm:ann:ben' }],
      ['POST /v1/messages', { ...whole, metadata: { a: null } }],
      ['POST /v1/channels', { members: ['ben'], title: null }],
      ['POST /v1/channels', { members: ['ben'], client_id: null }],
      ['POST /v1/channels', { members: [null] }],
      [`PUT /v1/channels/${group}/members/ben`, { role: null }],
      [`PATCH /v1/channels/${group}`, { title: null }],
      ['PUT /v1/devices/phone', { platform: 'web', push_token: null }],
      ['PATCH /v1/channels/dm:ann:ben/messages/1', { client_id: 'c', content: null }],
      ['DELETE /v1/channels/dm:ann:ben/messages/1', { client_id: null }],
    ];
    for (const [line, body] of cases) expectRefused(await ask(stage, 'ann', line, { body }), 400, 'bad_frame', line);
    const bad = await ask(stage, 'ann', 'POST /v1/channels', { body: { members: ['a:b'] } });
    expectRefused(bad, 400, 'bad_request', 'a member with a colon');
  });

  it('malformed ids in a path, and values beyond their bounds', async () => {
    for (const { method, path, params } of api) {
      if (!params) continue;
      for (const name of ['channel', 'seq', 'user', 'device']) {
        if (!path.includes(`:${name}`)) continue;
        for (const bad of name === 'seq' ? ['0', '-1', 'x', '9007199254740993'] : ['a%20b', 'x'.repeat(65), 'a%3Ab']) {
          const line = `${method.toUpperCase()} ${filled(path.replace(`:${name}`, bad))}`;
          const body = { client_id: 'c', content: 'x', title: 'x', platform: 'web', push_token: 'x' };
          const answer = await ask(stage, 'ann', line, method === 'get' ? {} : { body });
          expectRefused(answer, 400, 'bad_request', line);
        }
      }
    }
    const users = (count: number) => Array.from({ length: count }, (_, i) => `u${i}`);
    const bounds: [string, object | undefined, number, string?][] = [
      ['POST /v1/channels', { members: [], title: '🜁'.repeat(200) }, 201],
      ['POST /v1/channels', { members: [], title: 'x'.repeat(201) }, 400, 'bad_request'],
      ['POST /v1/channels', { members: [], title: '\ud800' }, 400, 'bad_request'],
      ['POST /v1/channels', { members: users(499) }, 201],
      ['POST /v1/channels', { members: users(500) }, 409, 'conflict'],
      ['PUT /v1/devices/d', { platform: 'android', push_token: 'x'.repeat(4096) }, 204],
      ['PUT /v1/devices/d', { platform: 'android', push_token: 'x'.repeat(4097) }, 400, 'bad_request'],
      ['PUT /v1/devices/d', { platform: 'windows', push_token: 'x' }, 400, 'bad_request'],
      [`GET /v1/presence?users=${users(100)}`, undefined, 200],
      [`GET /v1/presence?users=${users(101)}`, undefined, 400, 'bad_request'],
      ['GET /v1/presence?users=a%3Ab', undefined, 400, 'bad_request'],
      ['GET /v1/presence?users=', undefined, 400, 'bad_request'],
      ['GET /v1/presence', undefined, 400, 'bad_frame'],
      ['GET /v1/conversations?limit=1', undefined, 200],
      ['GET /v1/conversations?limit=100', undefined, 200],
    ];
    for (const [line, body, status, code] of bounds) {
      const answer = await ask(stage, 'ann', line, body === undefined ? {} : { body });
      if (code === undefined) expect([line, answer.status]).toEqual([line, status]);
      else expectRefused(answer, status, code, line);
    }
  });
});
