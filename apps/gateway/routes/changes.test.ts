/** Edits and deletions over HTTP, on a real Redis; what the archive has, and whether it answers, is the test's to say. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rowOf } from '../../../lib/archive/from-log.ts';
import { Accepted, History } from '../../../lib/protocol/http.ts';
import { type Api, answered, startApi } from './testing.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api?.stop());

let count = 0;
const id = () => `c${++count}`;

async function said(user: string, to: string, content: string) {
  const { body } = await api.as(user)('POST /v1/messages', { to, content, client_id: id() });
  return answered(Accepted, body);
}
async function history(user: string, channel: string, query = '') {
  return answered(History, (await api.as(user)(`GET /v1/channels/${channel}/messages${query}`)).body);
}
const at = ({ channel, seq }: { channel: string; seq: number }) => `/v1/channels/${channel}/messages/${seq}`;

/** What an archiver does, up to now; `forget`: the log has no more of the channel. */
async function archive(channel: string, { advance = true, forget = false } = {}) {
  const { store, keys } = api.ctx;
  const p = keys.partitionOf(channel);
  const entries = await store.command.xrange(keys.log(p), '-', '+');
  await api.ctx.archive.write(entries.map(([logId, fields]) => rowOf({ id: logId, fields })));
  const last = entries.at(-1)?.[0];
  if (advance && last) await store.command.hset(keys.positions(p), 'archiver', last);
  if (forget)
    for (const [logId, fields] of entries) if (fields[3] === channel) await store.command.xdel(keys.log(p), logId);
}

/** While `work` runs, the archive rejects. */
async function withoutArchive<T>(work: () => Promise<T>): Promise<T> {
  const { archive: real } = api.ctx;
  const page = real.page;
  real.page = () => Promise.reject(new Error('away'));
  try {
    return await work();
  } finally {
    real.page = page;
  }
}

describe('PATCH and DELETE of a message', () => {
  test('answer 202 with the change’s own place, and the same again for the same client_id', async () => {
    const sent = await said('alice', 'bob', 'first');
    const edit = await api.as('alice')(`PATCH ${at(sent)}`, { client_id: 'e', content: 'second' });
    expect(edit.status).toBe(202);
    expect(edit.headers).toHaveProperty('ratelimit-remaining');
    expect(answered(Accepted, edit.body)).toMatchObject({
      client_id: 'e',
      channel: sent.channel,
      seq: 2,
      duplicate: false,
    });
    const removed = await api.as('alice')(`DELETE ${at(sent)}?client_id=d`);
    expect(removed).toMatchObject({ status: 202, body: { client_id: 'd', seq: 3, duplicate: false } });
    for (const body of [{ client_id: 'd' }, undefined]) {
      const again = await api.as('alice')(`DELETE ${at(sent)}?client_id=d`, body);
      expect(again).toMatchObject({ status: 202, body: { ...(removed.body as object), duplicate: true } });
    }
    expect((await history('bob', sent.channel)).messages.map(({ seq }) => seq)).toEqual([3, 2, 1]);
  });

  test('are refused with the code that says why', async () => {
    const sent = await said('carol', 'dave', 'first');
    const line = at(sent);
    const refused = async (user: string, call: string, body: unknown, status: number, code: string) =>
      expect(await api.as(user)(call, body), `${user} ${call}`).toMatchObject({ status, body: { error: { code } } });
    await refused('dave', `PATCH ${line}`, { client_id: 'x', content: 'x' }, 403, 'forbidden');
    await refused('dave', `DELETE ${line}?client_id=x`, undefined, 403, 'forbidden');
    await refused('eve', `DELETE ${line}?client_id=x`, undefined, 403, 'forbidden');
    await refused('carol', `DELETE ${line}`, undefined, 400, 'bad_frame');
    await refused('carol', `DELETE ${line}?client_id=a%20b`, undefined, 400, 'bad_request');
    await refused('carol', `PATCH ${line}`, { client_id: 'x' }, 400, 'bad_frame');
    await refused('carol', `PATCH ${line}`, { client_id: 'x', content: '' }, 400, 'bad_request');
    await refused('carol', `PATCH ${line}`, { client_id: 'x', content: 'x'.repeat(8193) }, 413, 'too_large');
    await refused('carol', `PATCH ${at({ ...sent, seq: 2 })}`, { client_id: 'x', content: 'x' }, 404, 'not_found');
    await refused('carol', `PATCH ${at({ ...sent, seq: 0 })}`, { client_id: 'x', content: 'x' }, 400, 'bad_request');
    await refused('carol', 'DELETE /v1/channels/g:none/messages/1?client_id=x', undefined, 404, 'not_found');
    expect((await history('carol', sent.channel)).last_seq).toBe(1);
  });

  test('a service changes what the user may for whom it acts, and nothing else', async () => {
    const sent = await said('fay', 'gus', 'first');
    const service = (who: string) => api.as('backend', { admin: true, for: who });
    expect(await service('gus')(`DELETE ${at(sent)}?client_id=x`)).toMatchObject({ status: 403 });
    expect(await service('fay')(`DELETE ${at(sent)}?client_id=x`)).toMatchObject({ status: 202 });
  });
});

describe('without the archive', () => {
  test('what is in the log is edited and deleted, and history shows it so', async () => {
    const [first, second] = [await said('hal', 'ida', 'one'), await said('hal', 'ida', 'two')];
    for (let i = 0; i < 60; i++) await said('hal', 'ida', `far ${i}`);
    await archive(first.channel);
    await withoutArchive(async () => {
      const edit = await api.as('hal')(`PATCH ${at(first)}`, { client_id: id(), content: 'one, better' });
      expect(edit.status).toBe(202);
      expect(await api.as('hal')(`DELETE ${at(second)}?client_id=${id()}`)).toMatchObject({ status: 202 });
      expect(await api.as('hal')(`DELETE ${at(second)}?client_id=${id()}`)).toMatchObject({ status: 404 });
      const page = await history('ida', first.channel, '?after=0&limit=2');
      expect(page.messages).toMatchObject([{ content: 'one, better' }, { deleted: true }]);
      expect(page.messages[1]).not.toHaveProperty('content');
    });
    // Archived just before it went away: the log still has the message with its first text, and the change beside it.
    await archive(first.channel);
    await withoutArchive(async () => {
      const page = await history('ida', first.channel, '?after=0&limit=2');
      expect(page.messages).toMatchObject([{ content: 'one, better' }, { deleted: true }]);
    });
  });

  test('what only the archive has is unavailable, to be tried again; a repeat still gets its first answer', async () => {
    const sent = await said('jon', 'kim', 'one');
    const deletion = { client_id: id() };
    const before = await api.as('jon')(`DELETE ${at(sent)}`, deletion);
    const other = await said('jon', 'kim', 'two');
    await archive(sent.channel, { forget: true });
    await withoutArchive(async () => {
      expect(await api.as('jon')(`DELETE ${at(other)}?client_id=${id()}`)).toMatchObject({
        status: 503,
        body: { error: { code: 'unavailable', retry_after_ms: expect.any(Number) } },
      });
      expect(await api.as('jon')(`DELETE ${at(sent)}`, deletion)).toMatchObject({
        status: 202,
        body: { ...(before.body as object), duplicate: true },
      });
    });
  });
});

describe('an archive and a log that tell different tales', () => {
  test('rows written, position not yet moved: nothing is applied twice or taken back', async () => {
    const sent = await said('lea', 'max', 'one');
    await archive(sent.channel);
    await api.as('lea')(`PATCH ${at(sent)}`, { client_id: id(), content: 'two' });
    const head = await api.ctx.store.command.hget(api.ctx.keys.channel(sent.channel), 'changed');
    await api.as('lea')(`PATCH ${at(sent)}`, { client_id: id(), content: 'three' });
    await archive(sent.channel, { advance: false });
    const now = await history('max', sent.channel);
    expect(now.messages.at(-1)).toMatchObject({ content: 'three' });
    // Who read the head before the second edit finds it in the archive all the same, and keeps it.
    await api.ctx.store.command.hset(api.ctx.keys.channel(sent.channel), 'changed', head ?? '');
    expect((await history('max', sent.channel)).messages.at(-1)).toEqual(now.messages.at(-1));
  });
});
