import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ChannelInfo, Conversations } from '../../../lib/protocol/http.ts';
import { ReceiptVerbs } from '../../../lib/redis/receipt-verbs.ts';
import { type Api, answered, startApi } from './testing.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.stop());

let sent = 0;
const send = (user: string, target: { to: string } | { channel: string }, content: string) =>
  api.as(user)('POST /v1/messages', { ...target, content, client_id: `c${sent++}` });
const list = async (user: string, query = '') => {
  const { status, body } = await api.as(user)(`GET /v1/conversations${query}`);
  expect(status).toBe(200);
  return answered(Conversations, body);
};
const create = async (by: string, body: object) =>
  ((await api.as(by)('POST /v1/channels', body)).body as ChannelInfo).channel;
const hello = (user: string, since?: string) =>
  api.ctx.verbs.attach({
    user,
    device: 'd1',
    session: 's1',
    gateway: 'test',
    maxSessions: 8,
    ...(since ? { since } : {}),
  });

describe('the conversation list', () => {
  test('is empty for who has none', async () => {
    expect(await list('nobody')).toEqual({ conversations: [], unread_total: 0, offset: '0-0' });
  });

  test('counts what others wrote and one has not read', async () => {
    for (const text of ['one', 'two', 'three']) await send('bob', { to: 'alice' }, text);
    await api.fanOut('dm:alice:bob', ['alice', 'bob']);
    const [conversation] = (await list('alice')).conversations;
    expect(conversation).toMatchObject({ channel: 'dm:alice:bob', last_seq: 3, read_seq: 0, unread: 3 });
    expect(conversation?.last_message).toMatchObject({ seq: 3, from: 'bob', snippet: 'three' });
    expect(conversation).not.toHaveProperty('title');
    expect(conversation).not.toHaveProperty('left');
    expect((await list('bob')).conversations[0]).toMatchObject({ read_seq: 3, unread: 0 });

    await new ReceiptVerbs(api.ctx.store.command, api.ctx.keys).read({
      user: 'alice',
      channel: 'dm:alice:bob',
      seq: 2,
      device: '',
    });
    expect((await list('alice')).conversations[0]).toMatchObject({ read_seq: 2, unread: 1 });
    await send('alice', { to: 'bob' }, 'an answer');
    await api.fanOut('dm:alice:bob', ['alice', 'bob']);
    expect((await list('alice')).conversations[0]).toMatchObject({ last_seq: 4, read_seq: 4, unread: 0 });
    expect(await list('bob')).toMatchObject({ unread_total: 1, conversations: [{ unread: 1, last_seq: 4 }] });
  });

  test('snippets come back as written, cut only in length', async () => {
    await send('bob', { to: 'writer' }, 'two words\nand  a line');
    await api.fanOut('dm:bob:writer', ['writer']);
    expect((await list('writer')).conversations[0]?.last_message?.snippet).toBe('two words\nand  a line');
    await send('bob', { to: 'writer' }, '😀'.repeat(200));
    const { snippet } = (await list('writer')).conversations[0]?.last_message ?? {};
    expect(snippet?.isWellFormed()).toBe(true);
    expect(snippet).toMatch(/^(😀){20,}$/u);
  });

  test('comes in pages, latest first, each conversation once', async () => {
    for (let i = 0; i < 7; i++) {
      await send(`peer-${i}`, { to: 'pager' }, `from ${i}`);
      await api.fanOut(`dm:pager:peer-${i}`, ['pager']);
    }
    const whole = await list('pager');
    const ts = whole.conversations.map(({ last_message }) => last_message?.ts ?? 0);
    expect(ts).toEqual([...ts].sort((a, b) => b - a));
    expect(whole).toMatchObject({ unread_total: 7 });
    expect(whole).not.toHaveProperty('next');
    const paged: string[] = [];
    let next: string | undefined;
    do {
      const page = await list('pager', `?limit=3${next === undefined ? '' : `&cursor=${next}`}`);
      expect(page.unread_total).toBe(7);
      expect(page.conversations.length).toBeLessThanOrEqual(3);
      paged.push(...page.conversations.map(({ channel }) => channel));
      next = page.next;
    } while (next !== undefined);
    expect(paged).toEqual(whole.conversations.map(({ channel }) => channel));
    expect(await list('pager', '?limit=7')).not.toHaveProperty('next');
  });

  test('a group shows its title, and null while it has only events', async () => {
    const channel = await create('alice', { title: 'Crew', members: ['gwen'] });
    await api.fanOut(channel, ['gwen']);
    expect((await list('gwen')).conversations).toEqual([
      { channel, title: 'Crew', last_seq: 1, read_seq: 0, unread: 0, last_message: null },
    ]);
  });

  test('a new member sees no message from before, a removed one none from after', async () => {
    const channel = await create('alice', { title: 'Crew', members: ['bob'] }); // 1
    await send('bob', { channel }, 'before'); // 2
    await api.as('alice')(`PUT /v1/channels/${channel}/members/nora`); // 3
    await api.fanOut(channel, ['bob', 'nora']);
    expect((await list('nora')).conversations[0]).toMatchObject({ read_seq: 3, unread: 0, last_message: null });
    await send('bob', { channel }, 'while there'); // 4
    await api.fanOut(channel, ['nora']);
    expect((await list('nora')).conversations[0]).toMatchObject({
      unread: 1,
      last_message: { snippet: 'while there' },
    });

    await api.as('alice')(`DELETE /v1/channels/${channel}/members/nora`); // 5
    await api.fanOut(channel, ['nora']);
    const gone = await list('nora');
    expect(gone.unread_total).toBe(0);
    expect(gone.conversations[0]).toMatchObject({ left: true, last_seq: 5, unread: 0 });
    expect(gone.conversations[0]?.last_message).toMatchObject({ seq: 4, snippet: 'while there' });
    await send('bob', { channel }, 'a secret'); // 6
    await api.as('alice')(`PATCH /v1/channels/${channel}`, { title: 'Without Nora' }); // 7
    const later = (await list('nora')).conversations[0];
    expect(later).toMatchObject({ left: true, last_seq: 5, last_message: null });
    expect(JSON.stringify(later)).not.toMatch(/secret|Without/);
  });

  test('its offset is where the inbox ends: resuming from there misses nothing, and makes no gap', async () => {
    await hello('rita');
    await send('bob', { to: 'rita' }, 'one');
    await api.fanOut('dm:bob:rita', ['rita']);
    const { offset, conversations } = await list('rita');
    expect(conversations[0]?.last_seq).toBe(1);
    const entries = await api.ctx.store.command.xrange(api.ctx.keys.inbox('rita'), '-', '+');
    expect(entries.at(-1)?.[0]).toBe(offset);
    expect(await hello('rita', offset)).toMatchObject({ position: offset, tail: offset, gap: false });
  });

  test('everything acked and trimmed: the offset stays where the inbox ended', async () => {
    const attached = await hello('tom');
    expect(attached).toMatchObject({ gap: false });
    expect((await list('tom')).offset).toBe(attached === 'too_many' ? '' : attached.tail);
  });

  test('a service token sees the list of the user that it acts for', async () => {
    const { body } = await api.as('backend', { admin: true, for: 'bob' })('GET /v1/conversations');
    expect(answered(Conversations, body)).toEqual(await list('bob'));
  });
});
