import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rowOf } from '../../lib/archive/from-log.ts';
import { type Archive, openArchive } from '../../lib/archive/index.ts';
import { keyspace } from '../../lib/keyspace/index.ts';
import { connect, type RedisStore } from '../../lib/redis/connect.ts';
import { Verbs } from '../../lib/redis/verbs.ts';
import { born } from '../../ops/redis/born.ts';
import { type RedisServer, startRedis } from '../../ops/redis/server.ts';
import { type HistoryRequest, readHistory } from './history.ts';

/** On a real Redis with the real scripts, and a real archive file. */
const logger = pino({ level: 'silent' });
const folder = mkdtempSync(join(tmpdir(), 'millrace-history-'));
const keys = keyspace(16);
let server: RedisServer;
let store: RedisStore;
let verbs: Verbs;
let archive: Archive;

beforeAll(async () => {
  server = await startRedis({ appendOnly: false });
  store = await connect(server.url, { logger, name: 'history-test' });
  verbs = new Verbs(store.command, keys);
  await born(store.command, keys);
  archive = await openArchive(`sqlite:${join(folder, 'archive.db')}`, { logger });
});
afterAll(async () => {
  await archive?.close();
  await store?.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const down: Pick<Archive, 'page'> = { page: () => Promise.reject(new Error('the archive is away')) };
let next = 0;

/** A direct channel with `count` messages; those in `archived` are in the archive, those in `trimmed` not in the log. */
async function channelWith(
  count: number,
  archived: (seq: number) => boolean,
  trimmed: (seq: number) => boolean = () => false,
) {
  const channel = `dm:alice:bob${++next}`;
  const log = keys.log(keys.partitionOf(channel));
  for (let i = 1; i <= count; i++) {
    await verbs.append({
      channel,
      kind: 'direct',
      mayCreate: true,
      from: 'alice',
      clientId: `c${i}`,
      id: `00000000-0000-1000-8000-${String(i).padStart(12, '0')}`,
      content: `m${i}`,
      snippet: '',
    });
  }
  const head = await headOf(channel);
  const entries = (await store.command.xrange(log, '-', '+')).map(([id, fields]) => ({ id, fields }));
  for (const entry of entries) {
    const row = rowOf(entry);
    if (row.channel !== channel) continue;
    if (archived(row.seq)) await archive.write([row]);
    if (trimmed(row.seq)) await store.command.xdel(log, entry.id);
  }
  return { channel, head };
}

async function headOf(channel: string) {
  const [seq, last] = await store.command.hmget(keys.channel(channel), 'seq', 'last');
  return { seq: Number(seq ?? 0), last: last ?? '0-0' };
}

interface Asked {
  tails: { minSeq: number; maxHops: number }[];
  failures: unknown[];
}

async function read(
  { channel, head }: Pick<HistoryRequest, 'channel' | 'head'>,
  query: HistoryRequest['query'],
  more: Partial<HistoryRequest> = {},
) {
  const asked: Asked = { tails: [], failures: [] };
  const history = await readHistory({
    archive,
    tail: (from, minSeq, maxHops) => {
      asked.tails.push({ minSeq, maxHops });
      return verbs.walk(channel, from, minSeq, maxHops);
    },
    changes: (from, maxHops) => verbs.walk(channel, from, 1, maxHops, 'prior'),
    archivedTo: '0-0',
    erasedUntil: async () => new Map(),
    channel,
    query,
    head,
    archiveFailed: (error) => asked.failures.push(error),
    ...more,
  });
  return { ...history, seqs: history.messages.map(({ seq }) => seq), ...asked };
}

const span = (from: number, to: number) =>
  Array.from({ length: Math.abs(to - from) + 1 }, (_, i) => (to >= from ? from + i : from - i));

describe('history', () => {
  test('of a channel without messages', async () => {
    const empty = { channel: 'dm:alice:nobody', head: { seq: 0, last: '0-0' } };
    expect(await read(empty, { limit: 50 })).toMatchObject({ messages: [], last_seq: 0, complete_to: 0, tails: [] });
  });

  test('from the archive alone does not touch the log', async () => {
    const c = await channelWith(20, () => true);
    expect(await read(c, { limit: 5 })).toMatchObject({ seqs: span(20, 16), complete_to: 20, last_seq: 20, tails: [] });
    expect(await read(c, { limit: 5, before: 10 })).toMatchObject({ seqs: span(9, 5), complete_to: 20, tails: [] });
    expect(await read(c, { limit: 5, after: 10 })).toMatchObject({ seqs: span(11, 15), complete_to: 20, tails: [] });
    expect(await read(c, { limit: 50, after: 17 })).toMatchObject({ seqs: [18, 19, 20], complete_to: 20, tails: [] });
    expect(await read(c, { limit: 50, after: 20 })).toMatchObject({ seqs: [], complete_to: 20 });
    expect(await read(c, { limit: 50, before: 1 })).toMatchObject({ seqs: [], complete_to: 20 });
  });

  test('from the log alone, before anything is archived', async () => {
    const c = await channelWith(70, () => false);
    expect(await read(c, { limit: 10 })).toMatchObject({ seqs: span(70, 61), complete_to: 70 });
    expect(await read(c, { limit: 10, after: 0 })).toMatchObject({ seqs: span(1, 10), complete_to: 70 });
    expect(await read(c, { limit: 10, before: 5 })).toMatchObject({ seqs: [4, 3, 2, 1], complete_to: 70 });
    expect(await read(c, { limit: 200 })).toMatchObject({ seqs: span(70, 1), complete_to: 70 });
  });

  test('joins archive and tail, and walks no further than it must', async () => {
    const c = await channelWith(60, (seq) => seq <= 55);
    const page = await read(c, { limit: 20 });
    expect(page).toMatchObject({ seqs: span(60, 41), complete_to: 60, failures: [] });
    expect(page.tails).toEqual([{ minSeq: 56, maxHops: 50 }]);
    expect((await read(c, { limit: 10, after: 50 })).seqs).toEqual(span(51, 60));
    expect((await read(c, { limit: 3, after: 50 })).tails).toEqual([]);
    expect((await read(c, { limit: 8, before: 58 })).seqs).toEqual(span(57, 50));
  });

  test('fills a row that a half-finished batch left out', async () => {
    const c = await channelWith(10, (seq) => seq !== 4 && seq !== 7);
    expect(await read(c, { limit: 10 })).toMatchObject({ seqs: span(10, 1), complete_to: 10 });
  });

  test('a seq that is in neither is void: the page goes on and is complete', async () => {
    const c = await channelWith(
      10,
      (seq) => seq !== 4,
      (seq) => seq <= 6,
    );
    expect(await read(c, { limit: 10 })).toMatchObject({ seqs: [10, 9, 8, 7, 6, 5, 3, 2, 1], complete_to: 10 });
    expect(await read(c, { limit: 5, after: 1 })).toMatchObject({ seqs: [2, 3, 5, 6, 7], complete_to: 10 });
  });

  test('rows archived and trimmed between the two reads are found', async () => {
    const c = await channelWith(
      10,
      () => true,
      () => true,
    );
    let calls = 0;
    const late: Pick<Archive, 'page'> = {
      page: async (channel, q) => (calls++ === 0 ? [] : archive.page(channel, q)),
    };
    expect(await read(c, { limit: 10 }, { archive: late })).toMatchObject({ seqs: span(10, 1), complete_to: 10 });
  });

  test('without the archive the log answers, and complete_to says how far', async () => {
    const c = await channelWith(
      10,
      (seq) => seq <= 5,
      (seq) => seq <= 3,
    );
    const page = await read(c, { limit: 10 }, { archive: down });
    expect(page).toMatchObject({ seqs: span(10, 4), complete_to: 0, last_seq: 10 });
    expect(page.failures).toHaveLength(1);
    expect(await read(c, { limit: 3 }, { archive: down })).toMatchObject({ seqs: [10, 9, 8], complete_to: 10 });
    expect(await read(c, { limit: 10, after: 3 }, { archive: down })).toMatchObject({
      seqs: span(4, 10),
      complete_to: 10,
    });
    expect(await read(c, { limit: 10, after: 1 }, { archive: down })).toMatchObject({
      seqs: span(4, 10),
      complete_to: 1,
    });
    expect(await read(c, { limit: 10, before: 4 }, { archive: down })).toMatchObject({ seqs: [], complete_to: 0 });
  });

  test('an archive that never answers is not waited for', async () => {
    const c = await channelWith(3, () => false);
    const frozen: Pick<Archive, 'page'> = { page: () => new Promise(() => undefined) };
    const start = performance.now();
    expect((await read(c, { limit: 10 }, { archive: frozen })).seqs).toEqual([3, 2, 1]);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test('a far backlog is walked within a bound; what was not reached stays open', async () => {
    const c = await channelWith(1_300, () => false);
    const oldest = await read(c, { limit: 10, after: 0 }, { archive: down });
    expect(oldest.tails.length).toBe(20);
    expect(oldest.complete_to).toBe(0);
    expect(oldest.seqs.every((seq) => seq > 300)).toBe(true);
    expect(await read(c, { limit: 10, after: 0 })).toMatchObject({ complete_to: 0 });
    expect(await read(c, { limit: 10, after: 1_200 })).toMatchObject({ seqs: span(1_201, 1_210), complete_to: 1_300 });
  });

  test('is cut to the intervals of membership, and pages are full across them', async () => {
    const c = await channelWith(40, (seq) => seq <= 35);
    const intervals = [{ from: 5, to: 10 }, { from: 30 }];
    expect((await read(c, { limit: 50 }, { intervals })).seqs).toEqual([...span(40, 30), ...span(10, 5)]);
    expect((await read(c, { limit: 13 }, { intervals })).seqs).toEqual([...span(40, 30), 10, 9]);
    expect((await read(c, { limit: 4, before: 31 }, { intervals })).seqs).toEqual([30, 10, 9, 8]);
    expect((await read(c, { limit: 8, after: 0 }, { intervals })).seqs).toEqual([...span(5, 10), 30, 31]);
    expect(await read(c, { limit: 8, before: 5 }, { intervals })).toMatchObject({ seqs: [], complete_to: 40 });
    expect((await read(c, { limit: 50 }, { intervals: [{ from: 41 }] })).seqs).toEqual([]);
    expect((await read(c, { limit: 50 }, { intervals: [] })).seqs).toEqual([]);
    const forEver = [{ from: 38, to: Number.POSITIVE_INFINITY }];
    expect((await read(c, { limit: 50 }, { intervals: forEver })).seqs).toEqual([40, 39, 38]);
  });

  test('a message is readable the moment it was accepted, while others write and the archiver follows', async () => {
    const { channel } = await channelWith(1, () => true);
    const log = keys.log(keys.partitionOf(channel));
    let position = '0-0';
    for (let i = 2; i <= 120; i++) {
      const reply = await verbs.append({
        channel,
        kind: 'direct',
        from: 'alice',
        clientId: `x${i}`,
        id: `00000000-0000-1000-8000-${String(i).padStart(12, '0')}`,
        content: `x${i}`,
        snippet: '',
      });
      expect(reply).toMatchObject({ seq: i });
      if (i % 7 === 0) {
        const entries = await store.command.xrange(log, `(${position}`, '+');
        const rows = entries.map(([id, fields]) => rowOf({ id, fields })).filter((row) => row.channel === channel);
        await archive.write(rows);
        position = entries.at(-1)?.[0] ?? position;
      }
      const page = await read({ channel, head: await headOf(channel) }, { limit: 200 });
      expect(page.seqs).toEqual(span(i, 1));
      expect(page.complete_to).toBe(i);
    }
  });

  test('messages and events look as the protocol says', async () => {
    const channel = 'g:shapes';
    await verbs.create({ channel, id: uuid(1), clientId: 'k', title: 'Tea', members: ['alice', 'bob'] });
    await verbs.append({
      channel,
      kind: 'group',
      from: 'bob',
      clientId: 'k2',
      id: uuid(2),
      content: 'a\u0000b 😀',
      metadata: '{"k":"v"}',
      snippet: '',
    });
    const c = { channel, head: await headOf(channel) };
    const fromLog = await read(c, { limit: 10, after: 0 });
    expect(fromLog.messages).toEqual([
      { type: 'created', channel, seq: 1, id: uuid(1), title: 'Tea', by: 'alice', ts: expect.any(Number) },
      {
        type: 'message',
        channel,
        seq: 2,
        id: uuid(2),
        from: 'bob',
        client_id: 'k2',
        ts: expect.any(Number),
        content: 'a\u0000b 😀',
        metadata: { k: 'v' },
      },
    ]);
    const entries = await store.command.xrange(keys.log(keys.partitionOf(channel)), '-', '+');
    await archive.write(entries.map(([id, fields]) => rowOf({ id, fields })).filter((row) => row.channel === channel));
    expect(await archive.channelsOf('bob')).toContain(channel);
    const fromArchive = await read(c, { limit: 10, after: 0 });
    expect(fromArchive.tails).toEqual([]);
    expect(fromArchive.messages).toEqual(fromLog.messages);
  });
});

function uuid(n: number): string {
  return `00000000-0000-1000-8000-${String(n).padStart(12, '0')}`;
}
