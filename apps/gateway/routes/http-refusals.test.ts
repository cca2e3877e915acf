import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { calls } from '../../../lib/protocol/calls.ts';
import { type Answer, type Api, startApi } from './testing.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.stop());

const refused = (answer: Answer, status: number, code: string) => {
  expect(answer).toMatchObject({ status, body: { error: { code, message: expect.any(String) } } });
  expect(Object.keys(answer.body as object)).toEqual(['error']);
  expect(String(answer.headers['content-type'])).toContain('application/json');
};
const message = { channel: 'dm:alice:bob', content: 'hello', client_id: 'c1' };

describe('what is refused before any handler', () => {
  test('without a good token nothing but the reference answers', async () => {
    for (const { path, open, method } of calls.filter((call) => call.path.startsWith('/v1/'))) {
      const url = path
        .replace(':channel', 'g:none')
        .replace(':user', 'bob')
        .replace(':seq', '1')
        .replace(':device', 'phone');
      const answer = await api.call(`${method.toUpperCase()} ${url}`);
      if (open) expect(answer.status).toBe(200);
      else refused(answer, 401, 'unauthenticated');
    }
    for (const authorization of ['', 'Bearer', 'Bearer ', 'Bearer x', 'Basic abc', `Bearer ${'x'.repeat(5000)}`]) {
      refused(await api.call('GET /v1/conversations', { headers: { authorization } }), 401, 'unauthenticated');
    }
  });

  test('no call acts for others, or for oneself by name, without a service token', async () => {
    for (const { path, open, method } of calls.filter((call) => call.path.startsWith('/v1/'))) {
      if (open) continue;
      const line = `${method.toUpperCase()} ${path.replace(':channel', 'g:none').replace(':user', 'bob').replace(':seq', '1').replace(':device', 'phone')}`;
      refused(await api.as('alice', { for: 'bob' })(line), 403, 'forbidden');
      refused(await api.as('alice', { for: 'alice' })(line), 403, 'forbidden');
    }
  });

  test('only service tokens act for others, and only for a user id', async () => {
    refused(await api.as('alice', { for: 'alice' })('GET /v1/conversations'), 403, 'forbidden');
    refused(await api.as('alice', { for: 'bob' })('GET /v1/conversations'), 403, 'forbidden');
    refused(await api.as('svc', { admin: true, for: 'a:b' })('GET /v1/conversations'), 400, 'bad_request');
    const sent = await api.as('svc', { admin: true, for: 'carol' })('POST /v1/messages', {
      ...message,
      channel: 'dm:carol:dave',
    });
    expect(sent).toMatchObject({ status: 202, body: { channel: 'dm:carol:dave', seq: 1, duplicate: false } });
    refused(await api.as('svc', { admin: true })('POST /v1/messages', message), 403, 'forbidden');
  });

  test('unknown routes, and known paths with another method, are not found, token or not, whatever the body', async () => {
    for (const line of [
      'GET /',
      'GET /v1',
      'GET /v1/nothing',
      'PUT /v1/messages',
      'GET /v1/messages',
      'POST /v1/conversations',
      'DELETE /v1/channels/g:a',
      'PATCH /v1/channels/g:a/members/b',
      'GET /v1/channels/g:a/members/b',
      'GET /v1/channels/g:a/',
    ]) {
      refused(await api.call(line), 404, 'not_found');
      refused(await api.as('alice')(line), 404, 'not_found');
      if (!line.startsWith('GET')) {
        refused(await api.call(line, { raw: '{', headers: { 'content-type': 'text/plain' } }), 404, 'not_found');
      }
    }
  });

  test('malformed ids in a path are bad requests, however long or encoded', async () => {
    const alice = api.as('alice');
    for (const channel of [
      'x',
      'g:',
      'g:a%20b',
      'g:%7Bx%7D',
      'dm:alice',
      'dm:bob:alice',
      'dm:a:b:c',
      'g%3A%0D%0A',
      `g:${'x'.repeat(65)}`,
      `g:${'x'.repeat(3000)}`,
      '%ff',
      '%zz',
      '__proto__',
    ]) {
      for (const line of [
        `GET /v1/channels/${channel}`,
        `GET /v1/channels/${channel}/messages`,
        `GET /v1/channels/${channel}/members`,
      ]) {
        refused(await alice(line), 400, 'bad_request');
      }
      refused(await alice(`PUT /v1/channels/${channel}/members/bob`, {}), 400, 'bad_request');
      refused(await alice(`DELETE /v1/channels/${channel}/members/bob`), 400, 'bad_request');
      refused(await alice(`PATCH /v1/channels/${channel}`, { title: 'x' }), 400, 'bad_request');
    }
    for (const user of ['a:b', 'a%20b', '%C3%A9', 'x'.repeat(65)]) {
      refused(await alice(`PUT /v1/channels/g:a/members/${user}`), 400, 'bad_request');
    }
    const long = `dm:${'a'.repeat(64)}:${'b'.repeat(64)}`;
    expect((await api.as('a'.repeat(64))(`GET /v1/channels/${encodeURIComponent(long)}`)).body).toMatchObject({
      channel: long,
    });
  });

  test('a body that is no JSON object, or of wrong types, is a bad frame; other values a bad request', async () => {
    const alice = api.as('alice');
    const authorization = api.authorization('alice');
    for (const raw of [
      '',
      '{',
      'null',
      '[]',
      '5',
      '"x"',
      'true',
      '\ufeff{}',
      '[['.repeat(10_000),
      Buffer.from([0x7b, 0xff, 0x7d]),
    ]) {
      refused(await api.call('POST /v1/messages', { raw, headers: { authorization } }), 400, 'bad_frame');
    }
    for (const change of [
      { content: 5 },
      { content: null },
      { client_id: 1 },
      { channel: {} },
      { channel: null },
      { metadata: { a: 1 } },
      { metadata: [] },
      { metadata: 'x' },
      { metadata: null },
    ]) {
      refused(await alice('POST /v1/messages', { ...message, ...change }), 400, 'bad_frame');
    }
    for (const change of [
      { content: '' },
      { client_id: '' },
      { client_id: 'a b' },
      { client_id: 'x'.repeat(65) },
      { channel: 'x' },
      { channel: 'dm:bob:alice' },
      { to: 'bob' },
      { channel: undefined },
      { channel: undefined, to: 'a:b' },
      { content: '\ud800' },
      { metadata: { a: '\ud800' } },
    ]) {
      refused(await alice('POST /v1/messages', { ...message, ...change }), 400, 'bad_request');
    }
    for (const body of [{}, { members: 'bob' }, { members: [5] }, { members: ['bob'], title: 5 }]) {
      refused(await alice('POST /v1/channels', body), 400, 'bad_frame');
    }
    for (const body of [{ members: ['a:b'] }, { members: [], title: '' }, { members: [], client_id: '' }]) {
      refused(await alice('POST /v1/channels', body), 400, 'bad_request');
    }
    refused(await alice('PUT /v1/channels/g:a/members/bob', { role: 5 }), 400, 'bad_frame');
    refused(await alice('PUT /v1/channels/g:a/members/bob', { role: 'king' }), 400, 'bad_request');
    refused(
      await api.call('PUT /v1/channels/g:a/members/bob', { raw: 'null', headers: { authorization } }),
      400,
      'bad_frame',
    );
  });

  test('queries follow the same rules', async () => {
    const alice = api.as('alice');
    for (const query of [
      'limit=0',
      'limit=201',
      'limit=x',
      'limit=1e2',
      'limit=-1',
      'before=0',
      'after=-1',
      'before=5&after=2',
      'before=9007199254740993',
    ]) {
      refused(await alice(`GET /v1/channels/dm:alice:bob/messages?${query}`), 400, 'bad_request');
    }
    refused(await alice('GET /v1/channels/dm:alice:bob/messages?limit=5&limit=6'), 400, 'bad_frame');
    for (const query of ['limit=0', 'limit=101', 'cursor=', 'cursor=nonsense', `cursor=${'x'.repeat(300)}`]) {
      refused(await alice(`GET /v1/conversations?${query}`), 400, 'bad_request');
    }
  });

  test('content, metadata and bodies over the limit are too large', async () => {
    const alice = api.as('alice');
    const to = 'bob';
    const send = (client_id: string, more: object) => alice('POST /v1/messages', { to, client_id, ...more });
    expect((await send('l1', { content: 'x'.repeat(8192) })).status).toBe(202);
    refused(await send('l2', { content: 'x'.repeat(8193) }), 413, 'too_large');
    refused(await send('l2', { content: 'é'.repeat(4097) }), 413, 'too_large');
    expect((await send('l3', { content: 'x', metadata: { k: 'v'.repeat(2048 - 8) } })).status).toBe(202);
    refused(await send('l4', { content: 'x', metadata: { k: 'v'.repeat(2048 - 7) } }), 413, 'too_large');
    refused(await send('l4', { content: 'x'.repeat(1024 * 1024) }), 413, 'too_large');
    expect((await send('l5', { content: 'x', unknown: 'y'.repeat(900_000) })).status).toBe(202);
  });

  test('another content type is unsupported', async () => {
    const authorization = api.authorization('alice');
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'nonsense', 'application/jsonx']) {
      const answer = await api.call('POST /v1/messages', {
        raw: '{}',
        headers: { authorization, 'content-type': type },
      });
      refused(answer, 415, 'bad_request');
    }
    const utf8 = { authorization, 'content-type': 'application/json; charset=utf-8' };
    expect((await api.call('POST /v1/messages', { raw: JSON.stringify(message), headers: utf8 })).status).toBe(202);
  });

  test('names like __proto__ are names like others', async () => {
    const authorization = api.authorization('alice');
    const raw = `{"to":"proto","client_id":"p1","content":"x","__proto__":{"to":5},"constructor":{"prototype":1},"metadata":{"__proto__":"kept"}}`;
    expect((await api.call('POST /v1/messages', { raw, headers: { authorization } })).status).toBe(202);
    const { body } = await api.as('alice')('GET /v1/channels/dm:alice:proto/messages');
    expect(JSON.stringify(body)).toContain('"metadata":{"__proto__":"kept"}');
  });

  test('bytes that are no HTTP get the same body', async () => {
    const { port } = api;
    const socket = connect(port, '127.0.0.1');
    socket.write('NONSENSE\r\n\r\n');
    let text = '';
    socket.on('data', (data) => (text += data));
    await once(socket, 'close');
    expect(text).toMatch(/^HTTP\/1.1 400 /);
    expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n')))).toMatchObject({ error: { code: 'bad_request' } });
  });
});

describe('failures', () => {
  test('a store of the wrong shape is internal and logged; the next call is served', async () => {
    const { command } = api.ctx.store;
    await command.set(api.ctx.keys.conversations('broken'), 'text');
    refused(await api.as('broken')('GET /v1/conversations'), 500, 'internal');
    await command.set(api.ctx.keys.channel('dm:alice:broken'), 'text');
    const secret = { to: 'broken', client_id: 'secret-1', content: 'the secret words' };
    refused(await api.as('alice')('POST /v1/messages', secret), 500, 'internal');
    expect(api.logged.join('')).toContain('unexpected failure');
    expect(api.logged.join('')).not.toContain('the secret words');
    expect((await api.as('alice')('GET /v1/conversations')).status).toBe(200);
  });

  test('a store that is away is unavailable, with the time after which to try again', async () => {
    api.redis.kill('SIGKILL');
    for (const [line, body] of [
      ['POST /v1/messages', message],
      ['GET /v1/conversations'],
      ['GET /v1/channels/dm:alice:bob/messages'],
      ['PUT /v1/channels/g:a/members/b'],
      ['POST /v1/channels', { members: [] }],
    ] as const) {
      const answer = await api.as('alice')(line, body);
      refused(answer, 503, 'unavailable');
      expect(answer.body).toMatchObject({ error: { retry_after_ms: expect.any(Number) } });
      expect(answer.headers['retry-after']).toBeDefined();
    }
  });
});
