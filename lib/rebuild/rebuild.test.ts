import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { born } from '../../ops/redis/born.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { type Archive, type ArchiveRow, openArchive } from '../archive/index.ts';
import { SEQ_STRIDE } from '../archive/rows.ts';
import { keyspace } from '../keyspace/index.ts';
import { connect, type RedisStore } from '../redis/connect.ts';
import { Verbs } from '../redis/verbs.ts';
import { createMetrics } from '../telemetry/metrics.ts';
import { Rebuilder } from './index.ts';

const logger = pino({ level: 'silent' });
const keys = keyspace(4);
const folder = mkdtempSync(join(tmpdir(), 'millrace-rebuild-'));
const metrics = createMetrics();
const DM = 'dm:ann:bob';
const GROUP = 'g:tea';

let server: RedisServer;
let store: RedisStore;
let archive: Archive;
let files = 0;

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
  store = await connect(server.url, { logger, name: 'rebuild-test' });
});
beforeEach(async () => {
  await store.command.flushall();
  await archive?.close();
  archive = await openArchive(`sqlite:${join(folder, `${++files}.sqlite`)}`, { logger });
});
afterAll(async () => {
  await archive?.close();
  await store?.close();
  await server?.stop();
  metrics.stop();
  rmSync(folder, { recursive: true, force: true });
});

const rebuilder = (from: Archive = archive) => new Rebuilder({ store, keys, archive: from, metrics, logger });

function row(channel: string, seq: number, more: Partial<ArchiveRow> = {}): ArchiveRow {
  const ts = Date.now() - 10_000 + seq;
  const id = `${seq.toString(16).padStart(8, '0')}-0000-1000-8000-000000000000`;
  const own = { channel, seq, id, logId: `${ts}-0`, type: 'message', from: 'ann', clientId: `c${seq}`, ts };
  return { ...own, ...((more.type ?? 'message') === 'message' ? { content: `text ${seq}` } : {}), ...more };
}

const event = (seq: number, type: string, data: object) => row(GROUP, seq, { type, data: JSON.stringify(data) });
const tea = () => [
  event(1, 'created', { title: 'Tea', members: ['ann', 'bob', 'cid'] }),
  event(2, 'member', { user: 'bob', action: 'role', role: 'admin' }),
  event(3, 'member', { user: 'cid', action: 'removed', role: 'member' }),
  event(4, 'member', { user: 'cid', action: 'added', role: 'member' }),
  event(5, 'member', { user: 'bob', action: 'removed', role: 'admin' }),
  row(GROUP, 6, { from: 'cid', content: 'hello' }),
];

it('on an empty archive every partition begins as one that has nothing to lose; on another one none does', async () => {
  await rebuilder().begin();
  expect(await Promise.all([0, 1, 2, 3].map((p) => store.command.exists(keys.born(p))))).toEqual([1, 1, 1, 1]);
  await store.command.flushall();
  await archive.write([row(DM, 1)]);
  await rebuilder().begin();
  expect(await Promise.all([0, 1, 2, 3].map((p) => store.command.exists(keys.born(p))))).toEqual([0, 0, 0, 0]);
});

it('where a partition has nothing to lose, what is missing costs no archive read', async () => {
  await born(store.command, keys);
  const asked = vi.spyOn(archive, 'channel');
  expect(await rebuilder().channel(DM)).toBe('born');
  expect(asked).not.toHaveBeenCalled();
});

it('many who miss a channel at once are one fetch, and it goes on above the next multiple of the stride', async () => {
  await archive.write([row(DM, 1), row(DM, 2, { from: 'bob' })]);
  const asked = vi.spyOn(archive, 'channel');
  const all = rebuilder();
  expect(new Set(await Promise.all(Array.from({ length: 20 }, () => all.channel(DM))))).toEqual(new Set(['here']));
  expect(asked).toHaveBeenCalledTimes(1);
  const verbs = new Verbs(store.command, keys);
  const id = '00000009-0000-1000-8000-000000000000';
  const message = {
    channel: DM,
    kind: 'direct',
    from: 'ann',
    clientId: 'new',
    id,
    content: 'x',
    snippet: 'x',
  } as const;
  expect(await verbs.append(message)).toMatchObject({ seq: SEQ_STRIDE + 1, duplicate: false });
  // What was sent before the loss is known by its client id.
  expect(await verbs.append({ ...message, clientId: 'c1' })).toMatchObject({ seq: 1, duplicate: true });
});

it('lost again before any of it was archived, what began and what went on are given other numbers', async () => {
  await archive.write([row(DM, 1), ...tea()]);
  const begun = 'dm:ann:eve';
  const verbs = new Verbs(store.command, keys);
  const given: number[][] = [];
  for (let loss = 1; loss <= 3; loss++) {
    await store.command.flushall();
    // Two gateways that miss it at once are of one mind.
    const [one, other] = [rebuilder(), rebuilder()];
    await Promise.all([one, other].flatMap((each) => [DM, GROUP, begun].map((channel) => each.channel(channel))));
    const send = async (channel: string, kind: 'direct' | 'group', more = {}) => {
      const id = `${loss}0000009-0000-1000-8000-000000000000`;
      const message = { channel, kind, from: 'ann', clientId: `new${loss}`, id, content: 'x', snippet: 'x', ...more };
      const reply = await verbs.append(message);
      return typeof reply === 'string' ? 0 : reply.seq;
    };
    const sent = [await send(DM, 'direct'), await send(GROUP, 'group')];
    given.push([...sent, await send(begun, 'direct', { mayCreate: true, absent: true })]);
  }
  expect(given).toEqual([1, 2, 3].map((loss) => Array(3).fill(loss * SEQ_STRIDE + 1)));
});

it('a group of the same client id, lost before it was archived, begins at another number', async () => {
  const verbs = new Verbs(store.command, keys);
  const group = { channel: GROUP, id: row(GROUP, 1).id, clientId: 'tea', title: '', members: ['ann'] };
  for (const loss of [1, 2]) {
    await store.command.flushall();
    expect(await verbs.create(group)).toBe('rebuild');
    // Nobody has asked since it was lost.
    expect(await verbs.create({ ...group, known: 'again' })).toBe('rebuild');
    expect(await rebuilder().channel(GROUP)).toBe('absent');
    expect(await verbs.create({ ...group, known: 'again' })).toBe('created');
    expect(await store.command.hget(keys.channel(GROUP), 'seq')).toBe(String(loss * SEQ_STRIDE + 1));
  }
});

it('what was accepted and not archived may reach over a multiple of the stride', async () => {
  await archive.write([row(DM, SEQ_STRIDE - 1)]);
  await rebuilder().channel(DM);
  expect(await store.command.hget(keys.channel(DM), 'seq')).toBe(String(2 * SEQ_STRIDE));
});

it.each([
  ['looks how often the partition was lost', 'losses'],
  ['reads the channel', 'channel'],
] as const)('lost once more while a gateway %s: its number is not used again', async (_, held) => {
  await archive.write([row(DM, 1)]);
  const reached = Promise.withResolvers<void>();
  const late = Promise.withResolvers<void>();
  let holds = true;
  const slow = Object.assign(Object.create(archive) as Archive, {
    channel: archive.channel.bind(archive),
    losses: archive.losses.bind(archive),
    keep: archive.keep.bind(archive),
    page: archive.page.bind(archive),
    [held]: async (of: never) => {
      const found = await archive[held](of);
      reached.resolve();
      if (holds) await late.promise;
      holds = false;
      return found;
    },
  });
  const first = rebuilder(slow).channel(DM);
  await reached.promise;
  // Others rebuild it, what they give out is shown, and all of it is lost.
  await store.command.flushall();
  expect(await rebuilder().channel(DM)).toBe('here');
  const used = Number(await store.command.hget(keys.channel(DM), 'seq'));
  await store.command.flushall();
  late.resolve();
  expect(await first).toBe('here');
  expect(Number(await store.command.hget(keys.channel(DM), 'seq'))).toBeGreaterThan(used);
});

it('a channel that others made meanwhile stays as they made it', async () => {
  await archive.write([row(DM, 1)]);
  const late = Promise.withResolvers<void>();
  const slow = Object.assign(Object.create(archive) as Archive, {
    isEmpty: () => archive.isEmpty(),
    channel: async (channel: string) => {
      const found = await archive.channel(channel);
      await late.promise;
      return found;
    },
    losses: (partition: number) => archive.losses(partition),
    keep: (...args: Parameters<Archive['keep']>) => archive.keep(...args),
    page: (...args: Parameters<Archive['page']>) => archive.page(...args),
  });
  const first = rebuilder(slow).channel(DM);
  expect(await rebuilder().channel(DM)).toBe('here');
  await store.command.hset(keys.channel(DM), 'seq', SEQ_STRIDE + 5);
  late.resolve();
  expect(await first).toBe('here');
  expect(await store.command.hget(keys.channel(DM), 'seq')).toBe(String(SEQ_STRIDE + 5));
});

it('a group comes back with title, owner, roles and the intervals of membership', async () => {
  await archive.write(tea());
  expect(await rebuilder().channel(GROUP)).toBe('here');
  expect(await store.command.hgetall(keys.channel(GROUP))).toMatchObject({
    seq: String(SEQ_STRIDE),
    last: '0-0',
    title: 'Tea',
    owner: 'ann',
    member_count: '2',
    message: expect.stringMatching(/^6 cid \d+ hello$/),
  });
  expect(await store.command.hgetall(keys.members(GROUP))).toEqual({
    ann: 'owner 1-',
    bob: 'member 1-5',
    cid: 'member 1-3,4-',
  });
});

it('a channel that the archive does not know is absent; what began before the loss is not begun again below it', async () => {
  expect(await rebuilder().channel(DM)).toBe('absent');
  const verbs = new Verbs(store.command, keys);
  const id = '00000009-0000-1000-8000-000000000000';
  const message = {
    channel: DM,
    kind: 'direct',
    from: 'ann',
    clientId: 'new',
    id,
    content: 'x',
    snippet: 'x',
  } as const;
  expect(await verbs.append({ ...message, mayCreate: true })).toBe('rebuild');
  expect(await verbs.append({ ...message, mayCreate: true, absent: true })).toMatchObject({ seq: SEQ_STRIDE + 1 });
});

it('what others wrote after one’s own latest message is unread, also when a delivery made the mark anew', async () => {
  const gone = row(DM, 4);
  const deletion = row(DM, 5, { type: 'deleted', target: { seq: 4, id: gone.id } });
  await archive.write([row(DM, 1, { from: 'bob' }), row(DM, 2), row(DM, 3), gone, deletion, ...tea()]);
  await rebuilder().user('bob');
  expect(await store.command.hgetall(keys.conversations('bob'))).toEqual({
    [DM]: expect.stringMatching(/^5 \d+ 2 1$/),
  });
  await store.command.del(keys.conversations('bob'));
  await store.command.hset(keys.conversations('bob'), DM, `${SEQ_STRIDE + 1} 77 1 ${SEQ_STRIDE}`);
  await rebuilder().user('bob');
  await rebuilder().user('bob');
  expect(await store.command.hget(keys.conversations('bob'), DM)).toBe(`${SEQ_STRIDE + 1} 77 3 1`);
  expect(await store.command.hget(keys.devices('bob'), 'restored')).toBe('1');
});

it('an archive that does not answer: unavailable, and found when it does', async () => {
  await archive.write([row(DM, 1)]);
  const broken = vi.spyOn(archive, 'channel').mockRejectedValueOnce(new Error('away'));
  const all = rebuilder();
  await expect(all.channel(DM)).rejects.toMatchObject({ code: 'unavailable' });
  expect(await all.channel(DM)).toBe('here');
  broken.mockRestore();
});
