/** What is refused over HTTP, on every route of the reference, is refused with the one body. */
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { calls } from '../../lib/protocol/calls.ts';
import { ask, expectRefused } from './ask.ts';
import { Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set(1);
});
afterAll(() => stage?.clear());

const filled = (path: string) =>
  path.replace(':channel', 'dm:ann:ben').replace(':seq', '1').replace(':user', 'ben').replace(':device', 'phone');

const api = calls.filter(({ path }) => path.startsWith('/v1/'));

/** An upgrade without a key: fetch would not send it. */
async function brokenUpgrade(): Promise<string> {
  const { hostname, port } = new URL(stage.gateway(0).address);
  const socket = connect(Number(port), hostname);
  socket.write(`GET /v1/ws HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
  return await text(socket);
}

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
    ['PUT /v1/channels/g:any/members/ben', { role: null }],
    ['PATCH /v1/channels/g:any', { title: null }],
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
