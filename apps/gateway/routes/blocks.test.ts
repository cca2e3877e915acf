import { afterAll, beforeAll, expect, test } from 'vitest';
import { Blocks } from '../../../lib/protocol/http.ts';
import { type Api, answered, startApi } from './testing.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.stop());

let count = 0;
const send = async (from: string, to: string, client_id = `c${count++}`) => {
  const { status, body } = await api.as(from)('POST /v1/messages', { to, content: 'hello', client_id });
  return { status, code: (body as { error?: { code: string } }).error?.code };
};
const block = (user: string, other: string) => api.as(user)(`PUT /v1/blocks/${other}`);
const unblock = (user: string, other: string) => api.as(user)(`DELETE /v1/blocks/${other}`);
const list = async (user: string) => answered(Blocks, (await api.as(user)('GET /v1/blocks')).body).blocks;

test('a block holds both ways, is listed for who made it alone, and ends', async () => {
  expect(await send('alice', 'bob', 'before')).toMatchObject({ status: 202 });
  expect(await list('alice')).toEqual([]);
  expect(await block('alice', 'bob')).toMatchObject({ status: 204, body: undefined });
  expect(await send('bob', 'alice')).toEqual({ status: 403, code: 'forbidden' });
  expect(await send('alice', 'bob')).toEqual({ status: 403, code: 'forbidden' });
  // What was accepted before is still the answer to its repeat.
  expect(await send('alice', 'bob', 'before')).toMatchObject({ status: 202 });
  expect(await list('alice')).toEqual(['bob']);
  expect(await list('bob')).toEqual([]);
  expect(await unblock('alice', 'bob')).toMatchObject({ status: 204 });
  expect(await send('bob', 'alice')).toMatchObject({ status: 202 });
  expect(await list('alice')).toEqual([]);
});

test('a block before the first message holds, and leaves a channel that can begin', async () => {
  await block('carl', 'dora');
  expect(await send('dora', 'carl')).toEqual({ status: 403, code: 'forbidden' });
  await unblock('carl', 'dora');
  expect(await api.ctx.store.command.exists(api.ctx.keys.channel('dm:carl:dora'))).toBe(0);
  expect(await send('dora', 'carl')).toMatchObject({ status: 202 });
  expect(await send('carl', 'dora')).toMatchObject({ status: 202 });
});

test('of two blocks the other stays when one ends', async () => {
  await Promise.all([block('emil', 'fay'), block('fay', 'emil')]);
  await unblock('emil', 'fay');
  expect(await send('emil', 'fay')).toMatchObject({ code: 'forbidden' });
  await unblock('fay', 'emil');
  expect(await send('emil', 'fay')).toMatchObject({ status: 202 });
});

test('both calls can be repeated; nobody blocks themselves, and an id is an id', async () => {
  for (let i = 0; i < 2; i++) expect(await block('gina', 'hal')).toMatchObject({ status: 204 });
  expect(await list('gina')).toEqual(['hal']);
  for (let i = 0; i < 2; i++) expect(await unblock('gina', 'hal')).toMatchObject({ status: 204 });
  for (const path of ['/v1/blocks/gina', '/v1/blocks/a%3Ab'])
    expect(await api.as('gina')(`PUT ${path}`)).toMatchObject({
      status: 400,
      body: { error: { code: 'bad_request' } },
    });
});

test('what was only half done is completed by the same call', async () => {
  const { command } = api.ctx.store;
  await command.sadd(api.ctx.keys.blocks('ida'), 'jon');
  await block('ida', 'jon');
  expect(await send('jon', 'ida')).toMatchObject({ code: 'forbidden' });
  await command.hdel(api.ctx.keys.channel('dm:ida:jon'), 'blocked:ida', 'blocked');
  expect(await list('ida')).toEqual(['jon']);
  await unblock('ida', 'jon');
  expect(await list('ida')).toEqual([]);
});

test('no text gets through by an edit; groups, deletions and history are untouched', async () => {
  await send('kim', 'leo');
  const kim = api.as('kim');
  const { body } = await kim('POST /v1/channels', { title: 'both', members: ['leo'] });
  await block('leo', 'kim');
  const { channel } = body as { channel: string };
  expect(await kim('POST /v1/messages', { channel, content: 'hello', client_id: 'in-group' })).toMatchObject({
    status: 202,
  });
  const message = '/v1/channels/dm%3Akim%3Aleo/messages';
  expect(await kim(`PATCH ${message}/1`, { client_id: 'edit', content: 'new' })).toMatchObject({ status: 403 });
  expect(await kim(`GET ${message}`)).toMatchObject({ status: 200, body: { last_seq: 1 } });
  expect(await kim(`DELETE ${message}/1?client_id=gone`)).toMatchObject({ status: 202 });
});
