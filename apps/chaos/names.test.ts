/** Names, texts and numbers at their bounds, written through one gateway and read through another. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ask } from './ask.ts';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
let writer: RawSession;
let reader: RawSession;
beforeAll(async () => {
  stage = await Stage.set();
  writer = await RawSession.start(stage.deployment, stage.gateway(0), 'writer');
  reader = await RawSession.start(stage.deployment, stage.gateway(1), 'reader');
});
afterAll(() => stage?.clear());

const post = (user: string, body: object, gateway = 0) => ask(stage, user, 'POST /v1/messages', { body, gateway });
const history = async (user: string, channel: string) => {
  const { body } = await ask(stage, user, `GET /v1/channels/${channel}/messages?after=0&limit=200`, { gateway: 1 });
  return (body as { messages: Frame[] }).messages;
};
async function say(frame: object): Promise<Frame> {
  const ref = JSON.stringify(frame).slice(0, 64).toWellFormed();
  writer.send({ type: 'send', ...frame, ref });
  return await writer.until(() => writer.frames.find((f) => f.ref === ref), 'an answer');
}

it('user and device ids are of 1 to 64 characters, all of their alphabet, names of JavaScript’s own among them', async () => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-';
  const users = [
    'a',
    '-',
    alphabet.slice(0, 64),
    `${'z'.repeat(63)}-`,
    '__proto__',
    'constructor',
    'hasOwnProperty',
    '0',
  ];
  const { body } = await ask(stage, 'writer', 'POST /v1/channels', { body: { members: users } });
  const { channel, members } = body as { channel: string; members: number };
  expect(members).toBe(users.length + 1);
  const sessions = await Promise.all(
    users.map((user, i) => RawSession.start(stage.deployment, stage.gateway(i), user, { device: user })),
  );
  const { id } = await say({ client_id: 'to-all', channel, content: 'hello' });
  for (const [i, session] of sessions.entries()) {
    const user = users[i]!;
    session.send({ type: 'ack', offset: (await session.next('message', { id })).offset });
    const { body: own } = await ask(stage, user, 'GET /v1/devices', { gateway: i });
    expect(own).toMatchObject({ devices: [{ device: user, connected: true }] });
    const direct = await post('writer', { to: user, client_id: 'd', content: 'hello' });
    expect(direct.body).toMatchObject({ channel: user < 'writer' ? `dm:${user}:writer` : `dm:writer:${user}`, seq: 1 });
    await session.next('message', { from: 'writer', client_id: 'd' });
  }
  const listed = async (path: string, field: string) => {
    const answer = await ask(stage, 'writer', `GET ${path}`, { gateway: 1 });
    return ((answer.body as Record<string, { user: string }[]>)[field] ?? []).map(({ user }) => user).sort();
  };
  expect(await listed(`/v1/channels/${channel}/members`, 'members')).toEqual([...users, 'writer'].sort());
  expect(await listed(`/v1/channels/${channel}/receipts`, 'receipts')).toEqual([...users, 'writer'].sort());
  expect(await listed(`/v1/presence?users=${users}`, 'presence')).toEqual([...users].sort());
  await Promise.all(sessions.map((session) => session.close()));
});

it('the users of a direct channel are in byte order; the other order is refused; only the two are in it', async () => {
  for (const [a, b] of [
    ['Z', 'a'],
    ['a', 'a.'],
    ['a', 'a-'],
    ['10', '9'],
    ['_', 'a'],
  ] as const) {
    expect((await post(b, { to: a, client_id: 'x', content: 'x' })).body).toMatchObject({ channel: `dm:${a}:${b}` });
    const other = await post(a, { channel: `dm:${b}:${a}`, client_id: 'x', content: 'x' });
    expect([a, b, other.status, other.text]).toEqual([a, b, 400, expect.stringContaining('bad_request')]);
    expect((await post('third', { channel: `dm:${a}:${b}`, client_id: 'x', content: 'x' })).status).toBe(403);
  }
});

it('dm:a:a is for notes to oneself: one member, nobody else', async () => {
  const tablet = await RawSession.start(stage.deployment, stage.gateway(1), 'writer', { device: 'tablet' });
  const note = await say({ client_id: 'note', to: 'writer', content: 'buy milk' });
  expect(note).toMatchObject({ type: 'accepted', channel: 'dm:writer:writer', seq: 1 });
  for (const session of [writer, tablet]) await session.next('message', { id: note.id, content: 'buy milk' });
  expect((await ask(stage, 'writer', 'GET /v1/channels/dm:writer:writer')).body).toMatchObject({ members: 1 });
  expect(await history('writer', 'dm:writer:writer')).toMatchObject([{ content: 'buy milk', from: 'writer' }]);
  expect((await ask(stage, 'reader', 'GET /v1/channels/dm:writer:writer/messages')).status).toBe(403);
  await tablet.close();
});

it('a client_id is the sender’s in a channel, edits and deletions included; the same again is a duplicate, contents are not compared', async () => {
  const channel = 'dm:reader:writer';
  const all = Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).join('');
  for (const client_id of ['!', '~', all.slice(0, 64), all.slice(30)]) {
    const first = await say({ client_id, channel, content: `first ${client_id.length}` });
    expect(first).toMatchObject({ type: 'accepted', client_id, duplicate: false });
    const { body } = await post('writer', { client_id, to: 'reader', content: 'another text' }, 1);
    const { type: _, ref, ...place } = first;
    expect(body).toEqual({ ...place, duplicate: true });
    // Another sender's, and another channel's, are others.
    expect((await post('reader', { client_id, channel, content: 'x' })).body).toMatchObject({ duplicate: false });
    expect((await post('writer', { client_id, to: 'third', content: 'x' })).body).toMatchObject({ duplicate: false });
  }
  const { seq } = await say({ client_id: 'original', channel, content: 'to be edited' });
  writer.send({ type: 'edit', client_id: 'shared', channel, seq, content: 'edited' });
  const edit = await writer.next('accepted', { client_id: 'shared' });
  const { body: sent } = await post('writer', { client_id: 'shared', channel, content: 'a message' }, 1);
  expect(sent).toMatchObject({ seq: edit.seq, id: edit.id, ts: edit.ts, duplicate: true });
  writer.send({ type: 'delete', client_id: 'shared', channel, seq, ref: 'delete' });
  expect(await writer.next('accepted', { ref: 'delete' })).toMatchObject({ seq: edit.seq, duplicate: true });
});

it('content comes back as it was sent, of 1 byte to 8 KiB of UTF-8, and so does metadata of up to 2 KiB', async () => {
  const contents = [
    ' ',
    '\u0000',
    'a\u0000b\u0000',
    '  \t\r\n not trimmed \n',
    'e\u0301 é ﬁ \ufeff', // not normalised
    '\ud7ff\ue000\uffff\u{10ffff}',
    'x'.repeat(8192),
    'é'.repeat(4096),
    '🜁'.repeat(2048),
    '"\\/\b\f\u2028\u2029\u007f',
    '%s {17.b} 1e999 -0 null',
  ];
  for (const [i, content] of contents.entries()) {
    const { seq } = await say({ client_id: `text-${i}`, to: 'other', content });
    expect(seq).toBe(i + 1);
  }
  expect((await history('other', 'dm:other:writer')).map(({ content }) => content)).toEqual(contents);
  const longest = { k: 'v'.repeat(2048 - '{"k":""}'.length) };
  const metadatas = [{}, { '': '' }, { 'é\n': '\u0000' }, longest];
  for (const [i, metadata] of metadatas.entries()) {
    await say({ client_id: `meta-${i}`, to: 'reader', content: 'x', metadata });
    expect(await reader.next('message', { client_id: `meta-${i}` })).toMatchObject({ metadata });
  }
  const { body } = await ask(stage, 'reader', 'GET /v1/channels/dm:reader:writer/messages?limit=4', { gateway: 1 });
  const kept = (body as { messages: Frame[] }).messages.map((message) => message.metadata);
  expect(kept).toEqual([...metadatas].reverse());
  for (const [content, code] of [
    ['', 'bad_request'],
    ['\ud800', 'bad_request'],
    ['é'.repeat(4097), 'too_large'],
  ]) {
    expect(await say({ client_id: `no-${code}-${content?.length}`, to: 'reader', content })).toMatchObject({ code });
  }
  const over = { client_id: 'over', to: 'reader', content: 'x', metadata: { k: `${longest.k}v` } };
  expect(await say(over)).toMatchObject({ type: 'error', code: 'too_large' });
});

it('seq counts 1, 2, 3 … over messages and events; ids are time-UUIDs; ts is the store’s clock', async () => {
  const { body } = await ask(stage, 'writer', 'POST /v1/channels', { body: { title: 'One', members: ['reader'] } });
  const { channel } = body as { channel: string };
  await say({ client_id: 'm2', channel, content: 'two' });
  await ask(stage, 'writer', `PATCH /v1/channels/${channel}`, { body: { title: 'Two' }, gateway: 1 });
  await ask(stage, 'writer', `PUT /v1/channels/${channel}/members/third`);
  writer.send({ type: 'edit', client_id: 'm5', channel, seq: 2, content: 'zwei' });
  await writer.next('accepted', { client_id: 'm5' });
  writer.send({ type: 'delete', client_id: 'm6', channel, seq: 2 });
  await writer.next('accepted', { client_id: 'm6' });
  await ask(stage, 'writer', `DELETE /v1/channels/${channel}/members/third`, { gateway: 1 });
  await reader.next('member', { channel, action: 'removed' });
  const frames = reader.frames.filter((frame) => frame.channel === channel && 'seq' in frame);
  expect(frames.map(({ seq, type }) => [seq, type])).toEqual([
    [1, 'created'],
    [2, 'message'],
    [3, 'renamed'],
    [4, 'member'],
    [5, 'edited'],
    [6, 'deleted'],
    [7, 'member'],
  ]);
  const [seconds, micros] = await stage.store.time();
  const now = Number(seconds) * 1000 + Number(micros) / 1000;
  for (const { id, ts } of frames) {
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(Number(ts)).toBeLessThanOrEqual(now);
    expect(Number(ts)).toBeGreaterThan(now - 120_000);
  }
  expect(new Set(frames.map(({ id }) => id)).size).toBe(7);
});

it('a frame of exactly 16 KiB passes, one byte more closes 1009', async () => {
  const fill = (bytes: number) => `{"type":"ping","ref":"full","x":"${'x'.repeat(bytes - 35)}"}`;
  expect(fill(16_384)).toHaveLength(16_384);
  writer.text(fill(16_384));
  await writer.next('pong', { ref: 'full' });
  writer.text(fill(16_385));
  expect((await writer.ended).code).toBe(1009);
  expect(stage.complaints()).toEqual([]);
});
