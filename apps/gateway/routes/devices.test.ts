import { afterAll, beforeAll, expect, test } from 'vitest';
import { Devices } from '../../../lib/protocol/http.ts';
import { type Api, answered, startApi } from './testing.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.stop());

const attach = (user: string, device: string) =>
  api.ctx.verbs.attach({ user, device, session: `s-${device}`, gateway: 'test', maxSessions: 8 });
const put = (user: string, device: string, push_token: string, platform = 'android') =>
  api.as(user)(`PUT /v1/devices/${device}`, { platform, push_token });
async function list(user: string) {
  const { status, body } = await api.as(user)('GET /v1/devices');
  expect(status).toBe(200);
  return answered(Devices, body).devices;
}

test('devices are listed: with and without a token, connected and not, seen and never seen', async () => {
  expect(await list('alice')).toEqual([]);
  await attach('alice', 'constructor');
  await attach('alice', 'laptop');
  await api.ctx.verbs.detach({ user: 'alice', device: 'laptop', session: 's-laptop', gateway: 'test' });
  expect(await put('alice', 'phone', 'a token')).toMatchObject({ status: 204, body: undefined });
  const seen = expect.any(Number);
  expect(await list('alice')).toEqual([
    { device: 'constructor', push: false, last_seen: seen, connected: true },
    { device: 'laptop', push: false, last_seen: seen, connected: false },
    { device: 'phone', platform: 'android', push: true, last_seen: null, connected: false },
  ]);
  expect(await list('bob')).toEqual([]);
});

test('a token is replaced, and moves to the last user who registered it', async () => {
  await put('carol', 'phone', 'first');
  await put('carol', 'phone', 'second', 'ios');
  expect(await list('carol')).toMatchObject([{ device: 'phone', platform: 'ios', push: true }]);
  await put('dave', 'tablet', 'second', 'ios');
  expect(await list('carol')).toEqual([]);
  expect(await list('dave')).toMatchObject([{ device: 'tablet', platform: 'ios', push: true }]);
});

test('a device is forgotten, also one that was not there', async () => {
  await attach('erin', 'phone');
  await put('erin', 'phone', 'of erin');
  for (let i = 0; i < 2; i++) {
    expect(await api.as('erin')('DELETE /v1/devices/phone')).toMatchObject({ status: 204, body: undefined });
    expect(await list('erin')).toEqual([]);
  }
  const left = await api.ctx.store.command.keys('push_token:*');
  const owners = await Promise.all(left.map((key) => api.ctx.store.command.get(key)));
  expect(owners).not.toContain('erin phone');
});

test('what is not acceptable', async () => {
  const as = api.as('frank');
  const good = { platform: 'web', push_token: 'x' };
  const refusals: [string, unknown, number, string][] = [
    ['PUT /v1/devices/a%3Ab', good, 400, 'bad_request'],
    ['DELETE /v1/devices/a%3Ab', undefined, 400, 'bad_request'],
    ['PUT /v1/devices/a', { ...good, platform: 'fridge' }, 400, 'bad_request'],
    ['PUT /v1/devices/a', { ...good, platform: 7 }, 400, 'bad_frame'],
    ['PUT /v1/devices/a', { platform: 'web' }, 400, 'bad_frame'],
    ['PUT /v1/devices/a', undefined, 400, 'bad_frame'],
    ['PUT /v1/devices/a', { ...good, push_token: 'é'.repeat(2049) }, 400, 'bad_request'],
    ['PUT /v1/devices/a', { ...good, push_token: '' }, 400, 'bad_request'],
    ['POST /v1/devices/a', good, 404, 'not_found'],
  ];
  for (const [line, body, status, code] of refusals) {
    expect([line, await as(line, body)]).toMatchObject([line, { status, body: { error: { code } } }]);
  }
  expect(await as('PUT /v1/devices/a', { ...good, push_token: 'é'.repeat(2048) })).toMatchObject({ status: 204 });
  expect(await api.call('GET /v1/devices')).toMatchObject({ status: 401 });
});
