import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Api, startApi } from './testing.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.stop());

/** A new group with owner, admin and member; returns its path. */
async function group(): Promise<string> {
  const made = await api.as('owner')('POST /v1/channels', { title: 'Crew', members: ['admin', 'member'] });
  expect(made.status).toBe(201);
  const path = `/v1/channels/${(made.body as { channel: string }).channel}`;
  expect(await put('owner', path, 'admin', 'admin')).toBe(204);
  return path;
}
const put = async (by: string, path: string, user: string, role?: string) =>
  (await api.as(by)(`PUT ${path}/members/${user}`, role === undefined ? undefined : { role })).status;
const remove = async (by: string, path: string, user: string) =>
  (await api.as(by)(`DELETE ${path}/members/${user}`)).status;
const rolesOf = async (path: string, by = 'owner') => {
  const { body } = await api.as(by, { admin: true })(`GET ${path}/members`);
  const { members } = body as { members: { user: string; role: string; since: number }[] };
  return Object.fromEntries(members.map(({ user, role }) => [user, role]));
};

describe('roles in a group', () => {
  test('owner and admins add members, members do not, strangers learn nothing', async () => {
    const path = await group();
    expect(await put('owner', path, 'carol')).toBe(204);
    expect(await put('admin', path, 'dave')).toBe(204);
    expect(await put('member', path, 'eve')).toBe(403);
    expect(await put('stranger', path, 'eve')).toBe(404);
    expect(await rolesOf(path)).toEqual({
      owner: 'owner',
      admin: 'admin',
      member: 'member',
      carol: 'member',
      dave: 'member',
    });
  });

  test('only the owner gives roles', async () => {
    const path = await group();
    expect(await put('admin', path, 'member', 'admin')).toBe(403);
    expect(await put('admin', path, 'eve', 'admin')).toBe(403);
    expect(await put('admin', path, 'eve', 'member')).toBe(204);
    expect(await put('member', path, 'member', 'admin')).toBe(403);
    expect(await put('owner', path, 'member', 'admin')).toBe(204);
    expect(await put('owner', path, 'member', 'member')).toBe(204);
    expect(await put('owner', path, 'frank', 'admin')).toBe(204);
    expect(await rolesOf(path)).toMatchObject({ member: 'member', eve: 'member', frank: 'admin' });
  });

  test('the owner gives the group away and becomes admin; demoting oneself is refused', async () => {
    const path = await group();
    expect(await put('owner', path, 'owner', 'member')).toBe(400);
    expect(await put('owner', path, 'stranger', 'owner')).toBe(400);
    expect(await put('owner', path, 'member', 'owner')).toBe(204);
    expect(await rolesOf(path)).toMatchObject({ owner: 'admin', member: 'owner' });
    expect((await api.as('admin')(`GET ${path}`)).body).toMatchObject({ owner: 'member', role: 'admin', members: 3 });
  });

  test('admins remove members, but neither the owner nor other admins; anyone leaves', async () => {
    const path = await group();
    await put('owner', path, 'second', 'admin');
    expect(await remove('admin', path, 'owner')).toBe(403);
    expect(await remove('admin', path, 'second')).toBe(403);
    expect(await remove('member', path, 'second')).toBe(403);
    expect(await remove('stranger', path, 'member')).toBe(404);
    expect(await remove('admin', path, 'member')).toBe(204);
    expect(await remove('second', path, 'second')).toBe(204);
    expect(await rolesOf(path)).toEqual({ owner: 'owner', admin: 'admin' });
  });

  test('when the owner leaves, the oldest admin is next, else the oldest member', async () => {
    const path = await group();
    await put('owner', path, 'late', 'admin');
    expect(await remove('owner', path, 'owner')).toBe(204);
    expect(await rolesOf(path)).toEqual({ admin: 'owner', member: 'member', late: 'admin' });
    await remove('late', path, 'late');
    await remove('admin', path, 'admin');
    expect(await rolesOf(path)).toEqual({ member: 'owner' });
    expect(await remove('member', path, 'member')).toBe(204);
    expect((await api.as('member')(`GET ${path}`)).status).toBe(404);
  });

  test('adding and removing again change nothing', async () => {
    const path = await group();
    const seq = async () => ((await api.as('owner')(`GET ${path}`)).body as { last_seq: number }).last_seq;
    const before = await seq();
    expect(await put('owner', path, 'member')).toBe(204);
    expect(await put('owner', path, 'member', 'member')).toBe(204);
    expect(await remove('owner', path, 'nobody')).toBe(204);
    expect((await api.as('owner')(`PATCH ${path}`, { title: 'Crew' })).status).toBe(200);
    expect(await seq()).toBe(before);
    expect(await remove('owner', path, 'member')).toBe(204);
    expect(await remove('owner', path, 'member')).toBe(204);
    expect(await seq()).toBe(before + 1);
  });

  test('a full group takes nobody more', async () => {
    const path = await group();
    for (let i = 4; i <= 12; i++) expect(await put('owner', path, `user-${i}`)).toBe(204);
    const refused = await api.as('owner')(`PUT ${path}/members/one-more`);
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'conflict' } } });
    const many = Array.from({ length: 12 }, (_, i) => `user-${i}`);
    expect((await api.as('owner')('POST /v1/channels', { members: many })).status).toBe(409);
    expect((await api.as('owner')('POST /v1/channels', { members: [...many.slice(1), 'owner'] })).status).toBe(201);
  });

  test('owner and admins rename, members do not', async () => {
    const path = await group();
    expect((await api.as('admin')(`PATCH ${path}`, { title: 'Neu' })).body).toMatchObject({
      title: 'Neu',
      role: 'admin',
    });
    expect((await api.as('member')(`PATCH ${path}`, { title: 'x' })).status).toBe(403);
    expect((await api.as('stranger')(`PATCH ${path}`, { title: 'x' })).status).toBe(404);
    expect((await api.as('owner')(`PATCH ${path}`, { title: '' })).status).toBe(400);
    expect((await api.as('owner')(`PATCH ${path}`, { title: 'é'.repeat(200) })).status).toBe(200);
    expect((await api.as('owner')(`PATCH ${path}`, { title: 'é'.repeat(201) })).status).toBe(400);
  });

  test('a service token manages and reads every group, also when acting for a stranger', async () => {
    const path = await group();
    const service = api.as('backend', { admin: true });
    expect((await service(`GET ${path}`)).body).toMatchObject({ title: 'Crew', role: null, members: 3 });
    expect((await service(`PUT ${path}/members/eve`, { role: 'admin' })).status).toBe(204);
    expect((await service(`PATCH ${path}`, { title: 'Renamed' })).status).toBe(200);
    expect((await service(`DELETE ${path}/members/owner`)).status).toBe(204);
    expect(await rolesOf(path)).toMatchObject({ admin: 'owner', eve: 'admin' });
    expect((await api.as('backend', { admin: true, for: 'stranger' })(`GET ${path}/members`)).status).toBe(200);
    expect((await api.as('backend', { admin: true, for: 'eve' })(`GET ${path}`)).body).toMatchObject({ role: 'admin' });
    // It sends only where the user that it acts for may.
    const message = { channel: path.slice('/v1/channels/'.length), content: 'hi', client_id: 'c1' };
    expect((await service('POST /v1/messages', message)).status).toBe(404);
    expect((await api.as('backend', { admin: true, for: 'eve' })('POST /v1/messages', message)).status).toBe(202);
  });

  test('who was removed reads no more', async () => {
    const path = await group();
    await remove('owner', path, 'member');
    for (const line of [`GET ${path}`, `GET ${path}/members`, `PATCH ${path}`]) {
      const body = line.startsWith('PATCH') ? { title: 'x' } : undefined;
      expect(await api.as('member')(line, body)).toMatchObject({ status: 404, body: { error: { code: 'not_found' } } });
    }
  });
});
