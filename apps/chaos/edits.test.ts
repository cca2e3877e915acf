/** Edits and deletions over the wire, on one gateway and across two. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { compareIds, ZERO } from '../../lib/redis/ids.ts';
import { until } from '../../ops/until.ts';
import { type Frame, RawSession } from './raw-session.ts';
import { Stage } from './stage.ts';

let stage: Stage;
beforeAll(async () => {
  stage = await Stage.set();
});
afterAll(() => stage?.clear());
const open: RawSession[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((session) => session.close()));
});

async function start(user: string, device: string, gateway: number): Promise<RawSession> {
  const session = await RawSession.start(stage.deployment, stage.gateway(gateway), user, { device });
  open.push(session);
  return session;
}

let count = 0;
/** Resolves with what answers it. */
async function ask(session: RawSession, frame: Record<string, unknown>): Promise<Frame> {
  const client_id = `c${++count}`;
  session.send({ client_id, ...frame });
  const id = frame.client_id ?? client_id;
  const answered = session.frames.length;
  return await session.until(
    () => session.frames.slice(answered).find((f) => ['accepted', 'error'].includes(f.type) && f.client_id === id),
    `answer to ${JSON.stringify(frame)}`,
  );
}

interface Entry {
  seq: number;
  type: string;
  content?: string;
  edited_at?: number;
  deleted?: boolean;
}
interface History {
  messages: Entry[];
  last_seq: number;
  complete_to: number;
}
const history = (user: string, channel: string, query = 'limit=200', gateway = 0) =>
  stage.call<History>(user, `GET /v1/channels/${encodeURIComponent(channel)}/messages?${query}`, undefined, gateway);

const archived = (channel: string) =>
  until(
    `${channel} to be archived`,
    10_000,
    async () => {
      const p = stage.keys.partitionOf(channel);
      const [last, position] = await Promise.all([
        stage.store.hget(stage.keys.channel(channel), 'last'),
        stage.store.hget(stage.keys.positions(p), 'archiver'),
      ]);
      return { last, position };
    },
    ({ last, position }) => compareIds(position ?? ZERO, last ?? ZERO) >= 0,
  );

describe('edits and deletions', () => {
  it('reach everybody whom the message reached, in the channel’s order, the sender’s other devices too', async () => {
    const phone = await start('ann', 'phone', 0);
    const laptop = await start('ann', 'laptop', 1);
    const ben = await start('ben', 'phone', 1);
    const channel = 'dm:ann:ben';
    const sent = await ask(phone, { type: 'send', to: 'ben', content: 'first' });
    const edited = await ask(phone, { type: 'edit', channel, seq: sent.seq, content: 'second\n\u{1f600}', ref: 'r1' });
    expect(edited).toMatchObject({ type: 'accepted', channel, seq: 2, duplicate: false, ref: 'r1' });
    const deleted = await ask(phone, { type: 'delete', channel, seq: sent.seq, ref: 'r2' });
    expect(deleted).toMatchObject({ type: 'accepted', channel, seq: 3, duplicate: false, ref: 'r2' });
    const common = { channel, target: 1, from: 'ann' };
    for (const session of [phone, laptop, ben]) {
      const { offset: _, ...edit } = await session.next('edited', { id: edited.id });
      expect(edit).toEqual({
        type: 'edited',
        ...common,
        seq: 2,
        id: edited.id,
        client_id: edited.client_id,
        ts: edited.ts,
        content: 'second\n\u{1f600}',
      });
      const { offset: __, ...deletion } = await session.next('deleted', { id: deleted.id });
      expect(deletion).toEqual({
        type: 'deleted',
        ...common,
        seq: 3,
        id: deleted.id,
        client_id: deleted.client_id,
        ts: deleted.ts,
      });
      const seqs = session.frames.filter((f) => 'offset' in f && 'seq' in f).map((f) => f.seq);
      expect(seqs).toEqual([1, 2, 3]);
    }
  });

  it('a sender with one device gets no copy of the own changes', async () => {
    const cat = await start('cat', 'phone', 0);
    const dan = await start('dan', 'phone', 1);
    const sent = await ask(cat, { type: 'send', to: 'dan', content: 'first' });
    const edited = await ask(cat, { type: 'edit', channel: 'dm:cat:dan', seq: sent.seq, content: 'second' });
    await dan.next('edited', { id: edited.id });
    const back = await ask(dan, { type: 'send', to: 'cat', content: 'back' });
    await cat.next('message', { id: back.id });
    expect(cat.of('edited')).toEqual([]);
  });

  it('keep their order with messages sent in the same breath', async () => {
    const eli = await start('eli', 'phone', 0);
    const channel = 'dm:eli:fay';
    for (let i = 1; i <= 40; i += 4) {
      eli.send({ type: 'send', client_id: `s${i}`, channel, content: `m${i}` });
      eli.send({ type: 'edit', client_id: `s${i + 1}`, channel, seq: i, content: `m${i} edited` });
      eli.send({ type: 'send', client_id: `s${i + 2}`, channel, content: `m${i + 2}` });
      eli.send({ type: 'delete', client_id: `s${i + 3}`, channel, seq: i + 2 });
    }
    await eli.next('accepted', { client_id: 's40' });
    expect(eli.of('error')).toEqual([]);
    expect(eli.of('accepted').map((f) => [f.client_id, f.seq])).toEqual(
      Array.from({ length: 40 }, (_, i) => [`s${i + 1}`, i + 1]),
    );
  });

  it('the same client id again gets the first answer, on another gateway and over HTTP too', async () => {
    const gil = await start('gil', 'phone', 0);
    const other = await start('gil', 'laptop', 1);
    const channel = 'dm:gil:hal';
    const sent = await ask(gil, { type: 'send', channel, content: 'first' });
    const edit = { type: 'edit', client_id: 'edit-1', channel, seq: sent.seq, content: 'second' };
    const edited = await ask(gil, edit);
    const deleted = await ask(gil, { type: 'delete', client_id: 'delete-1', channel, seq: sent.seq });
    expect(await ask(other, edit)).toEqual({ ...edited, duplicate: true });
    expect(await ask(other, { type: 'delete', client_id: 'delete-1', channel, seq: sent.seq })).toEqual({
      ...deleted,
      duplicate: true,
    });
    const at = `/v1/channels/${channel}/messages/${sent.seq}`;
    const { type: _, ...answer } = { ...deleted, duplicate: true };
    expect(await stage.call('gil', `DELETE ${at}?client_id=delete-1`, undefined, 1)).toEqual(answer);
    expect(await stage.call('gil', `DELETE ${at}`, { client_id: 'delete-1' })).toEqual(answer);
    expect((await history('gil', channel)).last_seq).toBe(3);
  });

  it('of others’ messages, events, and what is missing or deleted are refused', async () => {
    const ida = await start('ida', 'phone', 0);
    const jon = await start('jon', 'phone', 1);
    const { channel } = await stage.call<{ channel: string }>('ida', 'POST /v1/channels', { members: ['jon'] });
    const sent = await ask(ida, { type: 'send', channel, content: 'first' });
    const late = await start('kim', 'phone', 1);
    await stage.call('ida', `PUT /v1/channels/${channel}/members/kim`);
    const gone = await ask(ida, { type: 'send', channel, content: 'gone' });
    await ask(ida, { type: 'delete', channel, seq: gone.seq });
    const before = await history('ida', channel);

    const refused = async (session: RawSession, fields: Record<string, unknown>, code: string) => {
      for (const frame of [
        { type: 'edit', channel, content: 'x', ...fields },
        { type: 'delete', channel, ...fields },
      ]) {
        expect(await ask(session, frame), JSON.stringify(frame)).toMatchObject({ type: 'error', code });
      }
    };
    await refused(jon, { seq: sent.seq }, 'forbidden');
    await refused(ida, { seq: 1 }, 'not_found'); // the group's `created`
    await refused(ida, { seq: 3 }, 'not_found'); // kim's joining
    await refused(ida, { seq: 5 }, 'not_found'); // the deletion
    await refused(ida, { seq: 6 }, 'not_found');
    await refused(ida, { seq: 2 ** 40 }, 'not_found');
    await refused(ida, { seq: gone.seq }, 'not_found');
    await refused(jon, { seq: gone.seq }, 'not_found');
    await refused(late, { seq: sent.seq }, 'not_found'); // from before joining
    await refused(late, { channel: 'g:none', seq: 1 }, 'not_found');
    await refused(late, { channel: 'dm:ida:jon', seq: 1 }, 'forbidden');
    await refused(ida, { channel: 'dm:ida:nobody', seq: 1 }, 'not_found');
    expect(await ask(ida, { type: 'edit', channel, seq: 2, content: '' })).toMatchObject({ code: 'bad_request' });
    expect(await ask(ida, { type: 'edit', channel, seq: 2, content: 'x'.repeat(8193) })).toMatchObject({
      code: 'too_large',
    });
    expect(await ask(ida, { type: 'edit', channel, seq: 2 })).toMatchObject({ code: 'bad_frame' });
    expect(await ask(ida, { type: 'delete', channel, seq: 0 })).toMatchObject({ code: 'bad_request' });
    expect(await history('ida', channel)).toEqual(before);
  });

  it('history has the latest state at once, and the same when it is archived, on every gateway', async () => {
    const lea = await start('lea', 'phone', 0);
    const channel = 'dm:lea:max';
    const say = (content: string) =>
      ask(lea, { type: 'send', channel, content, metadata: { secret: 'secret' } }).then((f) => f.seq);
    const [kept, changed, gone] = [await say('kept'), await say('old'), await say('secret one')];
    await ask(lea, { type: 'edit', channel, seq: gone, content: 'secret two' });
    const edited = await ask(lea, { type: 'edit', channel, seq: changed, content: 'new' });
    await ask(lea, { type: 'delete', channel, seq: gone });
    const now = await history('lea', channel);
    const entry = (seq: unknown) => now.messages.find((m) => m.seq === seq);
    expect(now.messages.map(({ seq, type }) => [seq, type])).toEqual([
      [6, 'deleted'],
      [5, 'edited'],
      [4, 'edited'],
      [3, 'message'],
      [2, 'message'],
      [1, 'message'],
    ]);
    expect(entry(kept)).not.toHaveProperty('edited_at');
    expect(entry(changed)).toMatchObject({ content: 'new', edited_at: edited.ts, metadata: { secret: 'secret' } });
    expect(entry(gone)).toMatchObject({ deleted: true, from: 'lea' });
    expect(JSON.stringify([entry(gone), entry(4), entry(6)])).not.toContain('secret');
    expect(entry(5)).toMatchObject({ target: changed, content: 'new' });
    expect(entry(6)).toMatchObject({ target: gone });
    await archived(channel);
    expect(await history('max', channel, 'limit=200', 1)).toEqual(now);
  });

  it('a message of any age is changed: the log has forgotten it, and the archive has not heard of the change yet', async () => {
    const ned = await start('ned', 'phone', 0);
    const channel = 'dm:ned:olga';
    const seqs: unknown[] = [];
    for (let i = 0; i < 60; i++) seqs.push((await ask(ned, { type: 'send', channel, content: `old ${i}` })).seq);
    await archived(channel);
    const p = stage.keys.partitionOf(channel);
    await stage.store.xtrim(stage.keys.log(p), 'MAXLEN', 0);
    const archiver = [...stage.deployment.processes].find((one) => one.roles.includes('archiver'));
    archiver?.child.kill('SIGSTOP');
    try {
      expect(await ask(ned, { type: 'edit', channel, seq: 1, content: 'new' })).toMatchObject({ seq: 61 });
      expect(await ask(ned, { type: 'delete', channel, seq: 2 })).toMatchObject({ seq: 62 });
      expect(await ask(ned, { type: 'delete', channel, seq: 59 })).toMatchObject({ seq: 63 });
      expect(await ask(ned, { type: 'edit', channel, seq: 2, content: 'x' })).toMatchObject({ code: 'not_found' });
      const page = await history('olga', channel, 'after=0&limit=3', 1);
      expect(page.messages).toMatchObject([{ content: 'new' }, { deleted: true }, { content: 'old 2' }]);
      expect(page.messages[0]?.edited_at).toBeGreaterThan(0);
      expect(page.messages[1]).not.toHaveProperty('content');
      expect(page.complete_to).toBe(63);
      expect((await history('olga', channel, 'before=60&limit=1')).messages).toMatchObject([
        { seq: 59, deleted: true },
      ]);
    } finally {
      archiver?.child.kill('SIGCONT');
    }
    await archived(channel);
    const page = await history('olga', channel, 'after=0&limit=3', 1);
    expect(page.messages).toMatchObject([{ content: 'new' }, { deleted: true }, { content: 'old 2' }]);
  });

  it('the conversation list shows the text as it is, and counts no deleted message as unread', async () => {
    const pia = await start('pia', 'phone', 0);
    const quin = await start('quin', 'phone', 1);
    const channel = 'dm:pia:quin';
    const [first, second] = [
      await ask(pia, { type: 'send', channel, content: 'one' }),
      await ask(pia, { type: 'send', channel, content: 'two' }),
    ];
    interface List {
      conversations: { unread: number; last_seq: number; last_message: { seq: number; snippet: string } }[];
    }
    const shown = async () => (await stage.call<List>('quin', 'GET /v1/conversations', undefined, 1)).conversations[0];
    await quin.next('message', { seq: 2 });
    expect(await shown()).toMatchObject({ unread: 2, last_message: { seq: 2, snippet: 'two' } });
    await ask(pia, { type: 'edit', channel, seq: second.seq, content: 'two, better' });
    await quin.next('edited', { seq: 3 });
    expect(await shown()).toMatchObject({ unread: 2, last_seq: 3, last_message: { seq: 2, snippet: 'two, better' } });
    await ask(pia, { type: 'delete', channel, seq: first.seq });
    await quin.next('deleted', { seq: 4 });
    expect(await shown()).toMatchObject({ unread: 1, last_message: { seq: 2, snippet: 'two, better' } });
    quin.send({ type: 'read', channel, seq: 4 });
    await ask(pia, { type: 'delete', channel, seq: second.seq });
    await quin.next('deleted', { seq: 5 });
    expect(await shown()).toMatchObject({ unread: 0, last_message: { seq: 2, snippet: '' } });
  });

  it('an edit and a deletion that meet agree: nothing is accepted after the deletion', async () => {
    const phone = await start('rob', 'phone', 0);
    const laptop = await start('rob', 'laptop', 1);
    const sam = await start('sam', 'phone', 0);
    const channel = 'dm:rob:sam';
    for (let round = 0; round < 10; round++) {
      const sent = await ask(phone, { type: 'send', channel, content: 'first' });
      const edits = Array.from({ length: 6 }, (_, i) =>
        ask(i % 2 ? phone : laptop, { type: 'edit', channel, seq: sent.seq, content: `edit ${i}` }),
      );
      const deleted = await ask(laptop, { type: 'delete', channel, seq: sent.seq });
      const answers = await Promise.all(edits);
      for (const answer of answers) {
        if (answer.type === 'accepted') expect(answer.seq).toBeLessThan(Number(deleted.seq));
        else expect(answer.code).toBe('not_found');
      }
      await sam.next('deleted', { id: deleted.id });
    }
    expect(stage.complaints()).toEqual([]);
  });
});
